//! Conditions that a key is one of many, in the form that each engine finds with its index.

use sea_orm::sea_query::extension::postgres::PgFunc;
use sea_orm::sea_query::{Expr, ExprTrait as _, IntoColumnRef};
use sea_orm::{ConnectionTrait, DbBackend};

/// Most keys in one condition.
const MOST: usize = 512;

/// Splits keys into lists for [`one_of`]. They are filled up with the last key to a power of two, so that engines find the
/// statements among their prepared ones.
pub(super) fn key_lists<'a>(keys: &[&'a str]) -> Vec<Vec<&'a str>> {
    keys.chunks(MOST)
        .map(|chunk| {
            let mut list = chunk.to_vec();
            if let Some(last) = chunk.last() {
                list.resize(chunk.len().next_power_of_two(), last);
            }
            list
        })
        .collect()
}

/// That the column is one of the keys. PostgreSQL gets them as one array: in the plan it keeps for a prepared statement it
/// would compare single parameters with every row, one after the other.
pub(super) fn one_of<C: ConnectionTrait>(db: &C, column: impl IntoColumnRef, keys: &[&str]) -> Expr {
    let column = Expr::col(column);
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            column.eq(PgFunc::any(keys))
        }
        _ => column.is_in(keys.iter().copied()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_filled_up_with_keys_they_hold_already() {
        assert_eq!(key_lists(&["a", "b", "c"]), [["a", "b", "c", "c"]]);
        assert!(key_lists(&[]).is_empty());
        assert_eq!(key_lists(&vec!["x"; 1025]).iter().map(Vec::len).collect::<Vec<_>>(), [512, 512, 1]);
    }
}
