//! Lists of objects. Names are compared byte by byte (`collate "C"`), which the index serves under
//! row-level security, too; folders are skipped over, so a list costs as much as it shows.

use bunbun_postgres::{Session, tokio_postgres::Row};

use super::objects::{self, Object};
use crate::error::Result;

/// Follows every other character.
const LAST: char = '\u{10ffff}';

/// What is wanted of a bucket.
#[derive(Debug)]
pub(crate) struct Listing<'l> {
    pub(crate) bucket: &'l str,
    /// What names begin with.
    pub(crate) prefix: &'l str,
    /// How much of the prefix is the folder: names are cut at the first delimiter after it.
    pub(crate) folder: &'l str,
    /// What ends a folder's name; without it nothing is cut.
    pub(crate) delimiter: Option<&'l str>,
    /// What came last on the page before.
    pub(crate) after: Option<After>,
    pub(crate) descending: bool,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

/// Where a page goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// After an object's name.
    Name(String),
    /// After everything in a folder; its name ends with the delimiter.
    Folder(String),
}

/// One line of a list.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A folder, whose name ends with the delimiter.
    Folder(String),
    /// An object.
    Object(Box<Object>),
}

/// Lists by name.
pub(crate) async fn by_name(session: &Session, wanted: &Listing<'_>) -> Result<Vec<Entry>> {
    // Walks from entry to entry; each step asks the index once.
    let (beyond, order, skip) = if wanted.descending {
        ("<", "desc", "at.common")
    } else {
        (">", "asc", "at.common || $5")
    };
    let step = |condition: &str| {
        format!(
            "select o.id, o.name, case when cut.at > 0
               then substr(o.name, 1, length($3) + cut.at + length($4) - 1) end as common
             from storage.objects o,
             lateral (select case when $4 = '' then 0
               else strpos(substr(o.name, length($3) + 1), $4) end as at) cut
             where o.bucket_id = $1 and o.name collate \"C\" >= $2 and o.name collate \"C\" < $2 || $5
               and {condition}
             order by o.name collate \"C\" {order} limit 1"
        )
    };
    let first = step(&format!(
        "($6::text is null or o.name collate \"C\" {beyond} $6)"
    ));
    let next = step(&format!(
        "o.name collate \"C\" {beyond} coalesce({skip}, at.name)"
    ));
    let columns = objects::columns("objects");
    let sql = format!(
        "with recursive at as (
           ({first})
           union all
           select next.* from at, lateral ({next}) next
         ), page as (select id, common, row_number() over () as line from at limit $7 offset $8)
         select {columns}, page.common from page
         join storage.objects on objects.id = page.id order by page.line"
    );
    let after = wanted
        .after
        .as_ref()
        .map(|after| match (after, wanted.descending) {
            (After::Name(name), _) => name.clone(),
            (After::Folder(name), true) => name.clone(),
            (After::Folder(name), false) => format!("{name}{LAST}"),
        });
    let rows = session
        .query_cached(
            &sql,
            &[
                &wanted.bucket,
                &wanted.prefix,
                &wanted.folder,
                &wanted.delimiter.unwrap_or_default(),
                &LAST.to_string(),
                &after,
                &wanted.limit,
                &wanted.offset,
            ],
        )
        .await?;
    rows.iter().map(entry).collect()
}

/// Lists by a date: folders first, by their names, then objects.
pub(crate) async fn by_date(
    session: &Session,
    wanted: &Listing<'_>,
    column: &'static str,
) -> Result<Vec<Entry>> {
    let order = if wanted.descending { "desc" } else { "asc" };
    let sql = format!(
        "with found as (
           select o.*, case when cut.at > 0
             then substr(o.name, 1, length($3) + cut.at + length($4) - 1) end as common
           from storage.objects o,
           lateral (select case when $4 = '' then 0
             else strpos(substr(o.name, length($3) + 1), $4) end as at) cut
           where o.bucket_id = $1 and o.name collate \"C\" >= $2 and o.name collate \"C\" < $2 || $5
         ), entries as (
           select distinct on (common) * from found where common is not null
           union all
           select * from found where common is null
         )
         select {columns}, common from entries
         order by common is null, common collate \"C\" {order}, {column} {order},
                  name collate \"C\" {order}
         limit $6 offset $7",
        columns = objects::columns("entries"),
    );
    let rows = session
        .query_cached(
            &sql,
            &[
                &wanted.bucket,
                &wanted.prefix,
                &wanted.folder,
                &wanted.delimiter.unwrap_or_default(),
                &LAST.to_string(),
                &wanted.limit,
                &wanted.offset,
            ],
        )
        .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &Row) -> Result<Entry> {
    Ok(match row.try_get::<_, Option<String>>(12)? {
        Some(folder) => Entry::Folder(folder),
        None => Entry::Object(Box::new(objects::read(row)?)),
    })
}
