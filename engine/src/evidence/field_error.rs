//! What is wrong with one member of a push agent's request, as the v3 API reports it (`verifier-v3-push.md` §4).

use std::borrow::Cow;
use std::fmt;

/// The attribute a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// What is offered or sent.
    Evidence,
    /// What the agent says of its machine.
    SystemInfo,
}

impl Attribute {
    /// Keylime's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::SystemInfo => "system_info",
        }
    }
}

/// One message about one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The attribute.
    pub attribute: Attribute,
    /// The rest of the sentence that begins with the attribute's name.
    pub message: Cow<'static, str>,
    /// Path of the member below `/data/attributes/`.
    pub path: String,
}

impl FieldError {
    /// A message about the list of evidence as a whole.
    pub fn evidence(message: impl Into<Cow<'static, str>>) -> Self {
        Self::at("evidence".to_owned(), message)
    }

    /// A message about a member of a piece of evidence.
    pub fn at(path: String, message: impl Into<Cow<'static, str>>) -> Self {
        Self { attribute: Attribute::Evidence, message: message.into(), path }
    }

    /// A message about the boot time.
    pub fn boot_time(message: impl Into<Cow<'static, str>>) -> Self {
        Self { attribute: Attribute::SystemInfo, message: message.into(), path: "system_info/boot_time".to_owned() }
    }

    /// The JSON pointer of the member.
    #[must_use]
    pub fn pointer(&self) -> String {
        format!("/data/attributes/{}", self.path)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribute '{}' {}.", self.attribute.name(), self.message)
    }
}

/// The message about a member that is missing.
pub const REQUIRED: &str = "is required";
