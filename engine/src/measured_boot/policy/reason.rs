//! Why a log does not satisfy a policy.

use std::fmt::{self, Write as _};

/// A reason, in words that make a sentence after the name of what was tested, and the events it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    text: String,
    events: Vec<u64>,
    /// Place of the tested value in the innermost list around it that is still unnamed.
    index: Option<usize>,
}

/// Longest text of a reason.
const MAX_TEXT_BYTES: usize = 8192;

impl Reason {
    /// A reason about the tested value itself.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), events: Vec::new(), index: None }
    }

    /// The reasons of all alternatives.
    #[must_use]
    pub fn none_of(reasons: Vec<Self>) -> Self {
        let mut text = String::from("[");
        let mut events = Vec::new();
        let mut index = None;
        for (number, reason) in reasons.into_iter().enumerate() {
            let _ = write!(text, "{}{}", if number == 0 { "" } else { ", " }, reason.text);
            events.extend(reason.events);
            index = index.or(reason.index);
        }
        text.push(']');
        events.sort_unstable();
        events.dedup();
        Self { text, events, index }.bounded()
    }

    /// The reason as it reads for the value around the tested one.
    #[must_use]
    pub fn under(mut self, name: &str) -> Self {
        self.text.insert(0, ' ');
        self.text.insert_str(0, name);
        self.bounded()
    }

    /// The reason as it reads for the list around the tested value.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self.under(&format!("[{index}]"))
    }

    /// The reason, about these events.
    #[must_use]
    pub fn about(mut self, events: impl IntoIterator<Item = u64>) -> Self {
        if self.events.is_empty() {
            self.events.extend(events);
        }
        self
    }

    /// The reason about a field that holds a list: the events of the list that it is about.
    #[must_use]
    pub(super) fn of_listed(self, numbers: &[u64]) -> Self {
        match self.index.and_then(|index| numbers.get(index)) {
            Some(number) => self.about([*number]),
            None => self.about(numbers.iter().copied()),
        }
    }

    /// The numbers of the events it is about.
    #[must_use]
    pub fn events(&self) -> &[u64] {
        &self.events
    }

    fn bounded(mut self) -> Self {
        if self.text.len() > MAX_TEXT_BYTES {
            self.text.truncate(self.text.floor_char_boundary(MAX_TEXT_BYTES));
            self.text.push('…');
        }
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
