//! `bunbun config check`: everything that is wrong, at once.

use serde_json::json;

use crate::{cli::Global, failure::Failure, printer::Printer, production, sources};

/// Checks what `bunbun serve` would.
pub(crate) fn check(global: &Global, printer: &Printer) -> Result<(), Failure> {
    production::load(&sources::read(global, None)?)?;
    printer.result(&json!({ "ok": true, "faults": [] }), || "OK\n".to_owned());
    Ok(())
}
