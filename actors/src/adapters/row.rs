//! Reads one column of one row, whatever type the engine or an earlier writer gave it.
//!
//! SQLite keeps the type of the value that was written, not of the column; Keylime changed the types of some columns; and
//! operators edit databases. What can be understood is understood, and the rest is an error of this row alone.

use keylime_schema::database::Engine;
use sea_orm::{QueryResult, TryGetable};

/// A row with the engine it came from.
pub(super) struct Row<'a> {
    row: &'a QueryResult,
    engine: Engine,
}

impl<'a> Row<'a> {
    pub(super) const fn new(engine: Engine, row: &'a QueryResult) -> Self {
        Self { row, engine }
    }

    /// A text, or a number written as text.
    pub(super) fn text(&self, column: &str) -> Result<Option<String>, String> {
        if let Some(text) = self.get::<String>(column) {
            return Ok(text);
        }
        if let Some(number) = self.whole_number(column) {
            return Ok(number.map(|number| number.to_string()));
        }
        match self.get::<Vec<u8>>(column) {
            Some(bytes) => bytes.map(String::from_utf8).transpose().map_err(|_| format!("{column} is not UTF-8")),
            None => Err(format!("{column} is not a text")),
        }
    }

    /// A text that is empty when absent.
    pub(super) fn text_or_empty(&self, column: &str) -> Result<String, String> {
        self.text(column).map(Option::unwrap_or_default)
    }

    /// A whole number, also one written as text or with a zero fraction.
    pub(super) fn integer(&self, column: &str) -> Result<Option<i64>, String> {
        if let Some(number) = self.whole_number(column) {
            return Ok(number);
        }
        let unusable = || format!("{column} is not a whole number");
        if let Some(number) = self.get::<f64>(column) {
            return number.map(|number| whole(number).ok_or_else(unusable)).transpose();
        }
        let text = self.get::<String>(column).ok_or_else(unusable)?;
        text.map(|text| text.trim().parse().map_err(|_| unusable())).transpose()
    }

    /// A whole number that fits into 32 bits.
    pub(super) fn small_integer(&self, column: &str) -> Result<Option<i32>, String> {
        let number = self.integer(column)?;
        number.map(|number| i32::try_from(number).map_err(|_| format!("{column} is out of range"))).transpose()
    }

    /// A truth value, also one stored as number.
    pub(super) fn flag(&self, column: &str) -> Result<Option<bool>, String> {
        if let Some(flag) = self.get::<bool>(column) {
            return Ok(flag);
        }
        self.integer(column).map(|number| number.map(|number| number != 0))
    }

    /// Bytes.
    pub(super) fn bytes(&self, column: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(bytes) = self.get::<Vec<u8>>(column) {
            return Ok(bytes);
        }
        self.text(column).map(|text| text.map(String::into_bytes))
    }

    /// PostgreSQL gives a number only in its own width; the others give any number in the widest.
    fn whole_number(&self, column: &str) -> Option<Option<i64>> {
        match self.engine {
            Engine::Postgres => {
                self.get::<i32>(column).map(|number| number.map(i64::from)).or_else(|| self.get::<i64>(column))
            }
            Engine::Sqlite | Engine::MySql => self.get::<i64>(column),
        }
    }

    /// `None` when the value has another type.
    fn get<T: TryGetable>(&self, column: &str) -> Option<Option<T>> {
        self.row.try_get::<Option<T>>("", column).ok()
    }
}

/// The number without its zero fraction; `None` where a whole number of this size would be inexact.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be a whole number that an i64 holds exactly")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
