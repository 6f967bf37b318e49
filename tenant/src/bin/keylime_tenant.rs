//! `keylime_tenant`: enrols agents at a verifier and manages what verifier and registrar know about them.

use std::process::ExitCode;

use keylime_settings::logging::{self, Program};
use keylime_tenant::answer::Answer;
use keylime_tenant::argument_parser::{Stop, terminal_width};
use keylime_tenant::cli::{Options, OutputForm};
use keylime_tenant::session::Session;
use keylime_tenant::{command, enrollment_actor};
use tracing::error;

/// Exit code of a command line that cannot be understood.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let options = match Options::parse(&arguments, terminal_width()) {
        Ok(options) => options,
        Err(Stop::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(text)) => {
            eprint!("{text}");
            if arguments.iter().any(|argument| argument == "--json") {
                let message = text.trim_end().rsplit('\n').next().unwrap_or_default();
                print(&Answer::default(), "", Some(message));
            }
            return ExitCode::from(USAGE_ERROR);
        }
    };
    keylime_pki::install_crypto_provider();
    let (form, command) = (options.form(), options.command().to_owned());
    match form {
        OutputForm::Lines => logging::init(Program::Tenant),
        OutputForm::Json => logging::init_beside_output(Program::Tenant),
    }
    let answer = Answer::default();
    let result = enrollment_actor::run(async {
        let mut session = Session::open(options)?;
        session.answer = answer.clone();
        command::run(session).await
    });
    let problem = result.err().map(|problem| problem.to_string());
    if let Some(problem) = &problem {
        error!(target: "keylime.tenant", "{problem}");
    }
    if form == OutputForm::Json {
        print(&answer, &command, problem.as_deref());
    }
    if problem.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the document of a command. A reader that went away is no reason to fail.
fn print(answer: &Answer, command: &str, error: Option<&str>) {
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let _ = answer.write(out, command, error);
}
