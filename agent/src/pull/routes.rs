//! Which path is served by what.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpMessage as _, dev::Service as _};

use crate::api_version::ApiVersion;
use crate::pull::{agent_info, answer, keys, notifications, quotes, unsupported, version};

/// Every route for these versions.
pub fn configure(versions: &[ApiVersion]) -> impl FnOnce(&mut ServiceConfig) + Clone + use<> {
    let versions = versions.to_vec();
    move |config| {
        config.app_data(answer::json_config()).app_data(answer::query_config());
        for version in versions {
            config.service(versioned(version));
        }
        config
            .service(web::resource("/version").route(web::get().to(version::version)))
            .default_service(web::to(unsupported::at_root));
    }
}

/// The scope of one version; its handlers find the version in the request's data.
fn versioned(
    version: ApiVersion,
) -> actix_web::Scope<
    impl actix_web::dev::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let mut scope = web::scope(&format!("/v{version}"));
    if version >= ApiVersion::AGENT_INFO {
        scope = scope.service(
            web::scope("/agent")
                .service(web::resource("/info").route(web::get().to(agent_info::info)))
                .default_service(web::to(unsupported::in_agent)),
        );
    }
    scope
        .service(
            web::scope("/keys")
                .service(web::resource("/pubkey").route(web::get().to(keys::public_key)))
                .service(web::resource("/ukey").route(web::post().to(keys::tenant_share)))
                .service(web::resource("/verify").route(web::get().to(keys::verify)))
                .service(web::resource("/vkey").route(web::post().to(keys::verifier_share)))
                .default_service(web::to(unsupported::in_keys)),
        )
        .service(
            web::scope("/notifications")
                .service(web::resource("/revocation").route(web::post().to(notifications::revocation)))
                .default_service(web::to(unsupported::in_notifications)),
        )
        .service(
            web::scope("/quotes")
                .service(web::resource("/identity").route(web::get().to(quotes::identity)))
                .service(web::resource("/integrity").route(web::get().to(quotes::integrity)))
                .default_service(web::to(unsupported::in_quotes)),
        )
        .default_service(web::to(unsupported::in_version))
        .wrap_fn(move |request, service| {
            request.extensions_mut().insert(version);
            service.call(request)
        })
}
