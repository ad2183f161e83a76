//! A text of several statements, through the simple protocol.

use std::{borrow::Cow, sync::Arc, time::Instant};

use super::{
    super::{
        error::Error,
        wire::{self, Connection, Field, Tag},
    },
    Answer, Lease, Request, classify,
    data_type::{Conversion, DataType},
    output::{self, Document, Summary},
    statements::{self, Column},
};

/// The result of the last statement that returned rows, or of the last one.
struct Collected {
    document: Document,
    fields: Vec<Field>,
    columns: Vec<Column>,
    command: Cow<'static, str>,
    rows: Option<u64>,
    is_truncated: bool,
    has_rows: bool,
}

pub(super) async fn run(lease: &mut Lease, request: &Request) -> Result<Answer, Error> {
    let started = Instant::now();
    let timeout = wire::timeout_millis(request.timeout);
    if timeout != lease.statement_timeout_millis() {
        lease
            .run(&format!("SET statement_timeout = {timeout}"))
            .await?;
    }
    lease.add_simple_query(&request.sql)?;
    lease.flush().await?;
    let mut result = collect(lease, request).await?;
    let duration = started.elapsed();
    name_types(lease, &mut result).await;
    let row_count = if result.is_truncated {
        result.document.rows()
    } else {
        result.rows.unwrap_or(result.document.rows())
    };
    let body = result.document.finish(&Summary {
        row_count,
        fields: &output::fields(&result.columns),
        command: &result.command,
        duration,
        is_truncated: result.is_truncated,
    });
    Ok(Answer {
        body,
        row_count,
        command: result.command,
        is_truncated: result.is_truncated,
        duration,
    })
}

async fn collect(connection: &mut Connection, request: &Request) -> Result<Collected, Error> {
    let mut result = Collected {
        document: Document::new(),
        fields: Vec::new(),
        columns: Vec::new(),
        command: Cow::default(),
        rows: None,
        is_truncated: false,
        has_rows: false,
    };
    let mut statement_number = 1;
    let mut returns_rows = false;
    let mut failure = None;
    while connection.awaited > 0 {
        match connection.next().await? {
            Tag::RowDescription => {
                returns_rows = true;
                result.fields = wire::fields(connection.body())?;
                result.columns = columns_of(connection, &result.fields);
                result.document.clear();
                result.is_truncated = false;
                result.has_rows = true;
            }
            Tag::DataRow => {
                if result.document.rows() >= request.max_rows
                    || result.document.len() > request.max_bytes
                {
                    // Read on, because the statements that follow must run.
                    result.is_truncated = true;
                } else {
                    result.document.push(connection.body(), &result.columns);
                }
            }
            Tag::CommandComplete => {
                statement_number += 1;
                if returns_rows || !result.has_rows {
                    (result.command, result.rows) = wire::command(connection.body());
                }
                returns_rows = false;
            }
            Tag::Error if failure.is_none() => {
                let mut error = connection.error();
                error.statement_number = Some(match error.position {
                    // A text that cannot be parsed fails as a whole, before its first statement.
                    Some(position) if statement_number == 1 => {
                        classify::statement_at(&request.sql, position)
                    }
                    _ => statement_number,
                });
                failure = Some(error);
            }
            Tag::CopyIn | Tag::CopyOut | Tag::CopyBoth => {
                connection.give_up();
                return Err(Error::invalid("COPY with the client cannot be run here."));
            }
            _ => {}
        }
    }
    failure.map_or(Ok(result), |error| Err(error.into()))
}

/// Columns by what is known without asking: the rows follow at once.
fn columns_of(connection: &Connection, fields: &[Field]) -> Vec<Column> {
    let types = fields
        .iter()
        .map(|field| {
            DataType::built_in(field.type_oid)
                .or_else(|| connection.types.get(&field.type_oid).cloned())
                .unwrap_or_else(|| Arc::new(DataType::new("unknown", Conversion::Other)))
        })
        .collect();
    statements::columns(fields.iter().map(|field| field.name.clone()), types)
}

/// Gives types that are not built in their names, now that the server can be asked.
async fn name_types(connection: &mut Connection, result: &mut Collected) {
    let oids: Vec<u32> = result.fields.iter().map(|field| field.type_oid).collect();
    // In a failed transaction it cannot, and `unknown` has to do.
    if let Ok(types) = statements::resolve(connection, &oids).await {
        for (column, data_type) in result.columns.iter_mut().zip(types) {
            column.data_type = data_type;
        }
    }
}
