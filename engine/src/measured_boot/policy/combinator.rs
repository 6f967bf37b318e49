//! The reference's policy language as values: tests that are put together from tests (`measured-boot.md` §7).
//!
//! A test looks at a JSON value and accepts it or says why not. A test is built once and shared; what changes during an
//! evaluation is kept in [`Evaluation`], so that every evaluation starts afresh.

pub use super::digest_set::DigestSet;
pub use super::events::{action_test, separator_test};
use super::reason::Reason;
pub use super::signature_set::SignatureSet;
use crate::policy::python_regex::{PatternError, PythonRegex};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// A test.
#[derive(Debug, Clone)]
pub enum Test {
    /// Accepts every value.
    AcceptAll,
    /// Accepts none; the reason.
    RejectAll(String),
    /// All of them, in order.
    And(Vec<Test>),
    /// At least one of them, in order.
    Or(Vec<Test>),
    /// A member of an object; the name is part of the reason.
    Field(String, Box<Test>),
    /// Every element of a list.
    Iterate(Box<Test>),
    /// The events of the whole log, in its member `events`, each by itself and then all together.
    Events {
        /// For each event.
        each: Box<Test>,
        /// For what was collected by [`Test::Collect`].
        finally: Box<Test>,
    },
    /// A list, element by element.
    Tuple(Vec<Test>, Padding),
    /// The test that is set for the values of some members.
    Dispatch(Dispatcher),
    /// Accepts and keeps the value for [`Test::Collected`].
    Collect(String),
    /// An object of the lists that were collected under these names.
    Collected(Vec<String>, Box<Test>),
    /// This number.
    IntEqual(i64),
    /// This text.
    StringEqual(String),
    /// A text that this pattern matches from its start to its end.
    Pattern(Pattern),
    /// An event with one of these digests.
    Digests(DigestSet),
    /// An event about this variable.
    Variable {
        /// The GUID.
        guid: String,
        /// The name.
        name: NameRule,
        /// For its data.
        data: Box<Test>,
    },
    /// A signature of this set.
    SignatureSetMember(Arc<SignatureSet>),
    /// A list of signatures that holds this set.
    SignatureSuperset(Arc<SignatureSet>),
    /// A test that may run once in an evaluation, wherever it is shared.
    Once(Arc<Test>),
}

/// What a list shorter than its tests is filled up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Nothing: it is rejected.
    None,
    /// `null`.
    Null,
}

/// Which names a variable may have.
#[derive(Debug, Clone)]
pub enum NameRule {
    /// This one.
    Exact(String),
    /// Those a pattern matches.
    Matching(Pattern),
}

/// A compiled pattern, matched against whole texts.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: PythonRegex,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Python would not compile it either.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        Ok(Self { text: text.to_owned(), regex: PythonRegex::full_match(text)? })
    }

    fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// Tests by the values of some members of an object.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    names: Vec<String>,
    tests: HashMap<Vec<Key>, Test>,
}

/// A value that selects a test.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

impl From<i64> for Key {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Key {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl Dispatcher {
    /// Without tests; the names of the members.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| (*name).to_owned()).collect(), tests: HashMap::new() }
    }

    /// Sets the test for values of the members; of two tests for the same values the first stays.
    pub fn set(&mut self, values: impl IntoIterator<Item = Key>, test: Test) {
        self.tests.entry(values.into_iter().collect()).or_insert(test);
    }

    fn check(&self, run: &mut Evaluation, subject: &Value) -> Result<(), Reason> {
        let Value::Object(members) = subject else { return Err(Reason::new("is not a dict")) };
        let mut keys = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let value = members.get(name).ok_or_else(|| Reason::new(format!("has no {name}")))?;
            keys.push(match value {
                Value::String(text) => Some(Key::Text(text.clone())),
                Value::Number(number) => number.as_i64().map(Key::Int),
                Value::Bool(value) => Some(Key::Int((*value).into())),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            });
        }
        let keys: Option<Vec<Key>> = keys.into_iter().collect();
        match keys.and_then(|keys| self.tests.get(&keys)) {
            Some(test) => test.check(run, subject),
            None => {
                let values: Vec<String> = self.names.iter().map(|name| members[name].to_string()).collect();
                let (names, values) = (self.names.join(", "), values.join(", "));
                Err(Reason::new(format!("has unexpected ({names}) combination ({values})")))
            }
        }
    }
}

/// Tests for variables: first by GUID and name, then the data.
#[derive(Debug, Clone)]
pub struct VariableDispatcher(Dispatcher);

impl Default for VariableDispatcher {
    fn default() -> Self {
        Self(Dispatcher::new(&["VariableName", "UnicodeName"]))
    }
}

impl VariableDispatcher {
    /// Sets the test for a variable's data.
    pub fn set(&mut self, guid: &str, name: &str, data: Test) {
        self.0.set([guid.into(), name.into()], Test::field("VariableData", data));
    }

    /// The test of an event.
    #[must_use]
    pub fn into_test(self) -> Test {
        Test::field("Event", Test::Dispatch(self.0))
    }
}

/// What changes while a log is tested.
#[derive(Debug, Default)]
struct Evaluation {
    /// The tests of [`Test::Once`] that ran, by address.
    ran: Vec<usize>,
    /// What [`Test::Collect`] kept, with the number of the event it came from.
    collected: HashMap<String, Vec<(u64, Value)>>,
    /// Number of the event that is being tested.
    event: u64,
    /// Numbers of the events in the lists that are being tested.
    listed: HashMap<String, Vec<u64>>,
}

/// Tests a log.
///
/// # Errors
/// Why the log does not satisfy the test.
pub fn evaluate(test: &Test, log: &Value) -> Result<(), Reason> {
    test.check(&mut Evaluation::default(), log)
}

impl Test {
    /// [`Test::Field`].
    #[must_use]
    pub fn field(name: &str, test: Test) -> Self {
        Self::Field(name.to_owned(), Box::new(test))
    }

    /// Several members of an object.
    #[must_use]
    pub fn fields<const N: usize>(fields: [(&str, Test); N]) -> Self {
        Self::And(fields.into_iter().map(|(name, test)| Self::field(name, test)).collect())
    }

    /// [`Test::Iterate`].
    #[must_use]
    pub fn iterate(test: Test) -> Self {
        Self::Iterate(Box::new(test))
    }

    /// [`Test::Once`].
    #[must_use]
    pub fn once(test: Test) -> Self {
        Self::Once(Arc::new(test))
    }

    /// [`Test::StringEqual`].
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::StringEqual(text.to_owned())
    }

    /// [`Test::Pattern`].
    ///
    /// # Errors
    /// The pattern does not compile.
    pub fn pattern(pattern: &str) -> Result<Self, PatternError> {
        Pattern::new(pattern).map(Self::Pattern)
    }

    /// Exactly this signature.
    #[must_use]
    pub fn signature(owner: &str, data: &str) -> Self {
        Self::fields([("SignatureOwner", Self::text(owner)), ("SignatureData", Self::text(data))])
    }

    /// A variable of signature lists, each of one of these types and with no key beyond the set.
    #[must_use]
    pub fn key_subset(types: &[&str], keys: &Arc<SignatureSet>) -> Self {
        let list = |signature_type: &&str| {
            Self::fields([
                ("SignatureType", Self::text(signature_type)),
                ("Keys", Self::iterate(Self::SignatureSetMember(Arc::clone(keys)))),
            ])
        };
        match types {
            [one] => Self::iterate(list(one)),
            several => Self::iterate(Self::Or(several.iter().map(list).collect())),
        }
    }

    /// A variable of one signature list, of this type and with all keys of the set.
    #[must_use]
    pub fn key_superset(signature_type: &str, keys: &Arc<SignatureSet>) -> Self {
        let list = Self::fields([
            ("SignatureType", Self::text(signature_type)),
            ("Keys", Self::SignatureSuperset(Arc::clone(keys))),
        ]);
        Self::Tuple(vec![list], Padding::None)
    }

    fn check(&self, run: &mut Evaluation, subject: &Value) -> Result<(), Reason> {
        match self {
            Self::AcceptAll => Ok(()),
            Self::RejectAll(reason) => Err(Reason::new(reason.clone())),
            Self::And(tests) => tests.iter().try_for_each(|test| test.check(run, subject)),
            Self::Or(tests) => check_any(tests, run, subject),
            Self::Field(name, test) => check_field(name, test, run, subject),
            Self::Iterate(test) => {
                for (index, element) in list(subject)?.iter().enumerate() {
                    test.check(run, element).map_err(|reason| reason.at(index))?;
                }
                Ok(())
            }
            Self::Events { each, finally } => check_events(each, finally, run, subject),
            Self::Tuple(tests, padding) => check_tuple(tests, *padding, run, list(subject)?),
            Self::Dispatch(dispatcher) => dispatcher.check(run, subject),
            Self::Collect(name) => {
                run.collected.entry(name.clone()).or_default().push((run.event, subject.clone()));
                Ok(())
            }
            Self::Collected(names, test) => check_collected(names, test, run),
            Self::IntEqual(expected) => match subject {
                Value::Number(number) if number.is_f64() => Err(Reason::new("is not a int")),
                Value::Number(number) if number.as_i64() == Some(*expected) => Ok(()),
                Value::Bool(value) if i64::from(*value) == *expected => Ok(()),
                Value::Number(_) | Value::Bool(_) => Err(Reason::new(format!("is not {expected}"))),
                _ => Err(Reason::new("is not a int")),
            },
            Self::StringEqual(expected) => match text(subject)? {
                found if found == expected => Ok(()),
                _ => Err(Reason::new(format!("is not '{expected}'"))),
            },
            Self::Pattern(pattern) => match text(subject)? {
                found if pattern.is_match(found) => Ok(()),
                _ => Err(Reason::new(format!("does not match {}", pattern.text))),
            },
            Self::Digests(digests) => digests.check(subject),
            Self::Variable { guid, name, data } => data.check(run, variable_data(guid, name, subject)?),
            Self::SignatureSetMember(set) => set.check_member(subject),
            Self::SignatureSuperset(set) => set.check_contained_in(subject),
            Self::Once(test) => {
                let address = Arc::as_ptr(test).addr();
                if run.ran.contains(&address) {
                    return Err(Reason::new("test was already run once"));
                }
                run.ran.push(address);
                test.check(run, subject)
            }
        }
    }
}

fn check_any(tests: &[Test], run: &mut Evaluation, subject: &Value) -> Result<(), Reason> {
    let mut reasons = Vec::new();
    for test in tests {
        match test.check(run, subject) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        return Err(Reason::new("does not pass empty disjunction"));
    }
    Err(Reason::none_of(reasons))
}

fn check_field(name: &str, test: &Test, run: &mut Evaluation, subject: &Value) -> Result<(), Reason> {
    let Value::Object(members) = subject else { return Err(Reason::new("is not a dict")) };
    let value = members.get(name).ok_or_else(|| Reason::new(format!("has no '{name}' field")))?;
    test.check(run, value).map_err(|reason| match run.listed.get(name) {
        Some(numbers) => reason.of_listed(numbers).under(name),
        None => reason.under(name),
    })
}

fn check_events(each: &Test, finally: &Test, run: &mut Evaluation, log: &Value) -> Result<(), Reason> {
    let Value::Object(log) = log else { return Err(Reason::new("is not a dict")) };
    let events = log.get("events").ok_or_else(|| Reason::new("has no 'events' field"))?;
    run.collected.clear();
    for (index, event) in list(events)?.iter().enumerate() {
        run.event = event.get("EventNum").and_then(Value::as_u64).unwrap_or(index as u64);
        let number = run.event;
        each.check(run, event).map_err(|reason| reason.about([number]))?;
    }
    finally.check(run, events)
}

fn check_tuple(tests: &[Test], padding: Padding, run: &mut Evaluation, list: &[Value]) -> Result<(), Reason> {
    let (length, tests_length) = (list.len(), tests.len());
    if length > tests_length {
        return Err(Reason::new(format!(" is longer ({length}) than the applicable tests ({tests_length})")));
    }
    if length < tests_length && padding == Padding::None {
        return Err(Reason::new(format!(" is shorter ({length}) than the applicable tests ({tests_length})")));
    }
    for (index, test) in tests.iter().enumerate() {
        test.check(run, list.get(index).unwrap_or(&Value::Null)).map_err(|reason| reason.at(index))?;
    }
    Ok(())
}

fn check_collected(names: &[String], test: &Test, run: &mut Evaluation) -> Result<(), Reason> {
    let mut lists = Map::with_capacity(names.len());
    for name in names {
        let (numbers, values) = run.collected.remove(name).unwrap_or_default().into_iter().unzip();
        run.listed.insert(name.clone(), numbers);
        lists.insert(name.clone(), Value::Array(values));
    }
    test.check(run, &Value::Object(lists))
}

fn variable_data<'v>(guid: &str, name: &NameRule, subject: &'v Value) -> Result<&'v Value, Reason> {
    let Value::Object(subject) = subject else { return Err(Reason::new("is not a dict")) };
    let event = subject.get("Event").ok_or_else(|| Reason::new("has no Event field"))?;
    let Value::Object(event) = event else { return Err(Reason::new("Event is not a dict")) };
    let member = |name: &str| event.get(name).ok_or_else(|| Reason::new(format!("Event has no {name} field")));
    let found = member("VariableName")?;
    if found != guid {
        return Err(Reason::new(format!("Event.VariableName is {found} rather than {guid}")));
    }
    let found = member("UnicodeName")?;
    let data = member("VariableData")?;
    let Value::String(found) = found else { return Err(Reason::new("Event.UnicodeName is not a str")) };
    match name {
        NameRule::Exact(name) if name == found => Ok(data),
        NameRule::Exact(name) => Err(Reason::new(format!("Event.UnicodeName is {found} rather than {name}"))),
        NameRule::Matching(pattern) if pattern.is_match(found) => Ok(data),
        NameRule::Matching(pattern) => {
            Err(Reason::new(format!("Event.UnicodeName, {found}, does not match {}", pattern.text)))
        }
    }
}

fn list(subject: &Value) -> Result<&[Value], Reason> {
    subject.as_array().map(Vec::as_slice).ok_or_else(|| Reason::new("is not a list"))
}

fn text(subject: &Value) -> Result<&str, Reason> {
    subject.as_str().ok_or_else(|| Reason::new("is not a str"))
}

#[cfg(test)]
mod tests;
