//! Operator tools: keylime_tenant, keylime_ca and the policy tools.
