//! Many rows in few statements, of few different sizes, so that engines find them among their prepared statements.

use sea_orm::sea_query::{Expr, InsertStatement, IntoTableRef, OnConflict, Query};
use sea_orm::{ConnectionTrait, DbErr, Iden, Value};

/// Rows per statement, largest first. With the 37 columns of the widest table, the largest stays under the 32,766
/// parameters that SQLite allows.
const ROWS_PER_STATEMENT: [usize; 5] = [256, 64, 16, 4, 1];

/// Bytes of policy text in one statement, well below the 16 MiB that MySQL takes in one packet; one longer text is still
/// a statement of its own.
const TEXT_BYTES_PER_STATEMENT: usize = 1 << 20;

/// Inserts rows; the columns of all are the same.
pub(super) async fn insert_rows<C, T, I>(
    db: &C,
    table: T,
    columns: &[I],
    rows: Vec<Vec<Value>>,
    conflict: Option<&OnConflict>,
) -> Result<(), DbErr>
where
    C: ConnectionTrait,
    T: IntoTableRef + Copy,
    I: Iden + Copy + 'static,
{
    let sizes = statement_sizes(rows.len());
    let mut rows = rows.into_iter();
    for size in sizes {
        let mut statement = Query::insert();
        statement.into_table(table).columns(columns.iter().copied());
        if let Some(conflict) = conflict {
            statement.on_conflict(conflict.clone());
        }
        for row in rows.by_ref().take(size) {
            add_row(&mut statement, row)?;
        }
        db.execute(&statement).await?;
    }
    Ok(())
}

/// Splits rows so that the texts of one group stay below [`TEXT_BYTES_PER_STATEMENT`].
pub(super) fn groups_by_bytes<T>(rows: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut filled = usize::MAX;
    for row in rows {
        let size = bytes(&row);
        match groups.last_mut() {
            Some(group) if filled.saturating_add(size) <= TEXT_BYTES_PER_STATEMENT => {
                filled += size;
                group.push(row);
            }
            _ => {
                filled = size;
                groups.push(vec![row]);
            }
        }
    }
    groups
}

fn add_row(statement: &mut InsertStatement, row: Vec<Value>) -> Result<(), DbErr> {
    statement.values(row.into_iter().map(Expr::val)).map(|_| ()).map_err(|error| DbErr::Custom(error.to_string()))
}

/// How many rows each statement takes.
fn statement_sizes(mut rows: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    for size in ROWS_PER_STATEMENT {
        while rows >= size {
            sizes.push(size);
            rows -= size;
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_have_few_sizes_and_cover_all_rows() {
        assert_eq!(statement_sizes(0), Vec::<usize>::new());
        assert_eq!(statement_sizes(256 + 64 + 5), [256, 64, 4, 1]);
        for rows in 0..700 {
            assert_eq!(statement_sizes(rows).iter().sum::<usize>(), rows);
        }
    }

    #[test]
    fn long_texts_get_statements_of_their_own() {
        let groups = groups_by_bytes(vec![10, 2 << 20, 600 << 10, 400 << 10, 100 << 10], |size| *size);
        assert_eq!(groups, [vec![10], vec![2 << 20], vec![600 << 10, 400 << 10], vec![100 << 10]]);
    }
}
