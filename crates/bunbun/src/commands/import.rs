//! `bunbun import kong FILE`: another gateway's configuration as `[gateway]`.

use std::path::Path;

use serde_json::json;

use crate::{failure::Failure, printer::Printer};

/// Translates Kong's declarative configuration and lists what has no counterpart.
pub(crate) fn kong(file: &Path, printer: &Printer) -> Result<(), Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::because(
            format!("{name} cannot be read"),
            &error,
            "give the path of a kong.yml",
        )
    })?;
    let imported = bunbun_gateway::import::kong::import(&text).map_err(|error| {
        let hint = "`kong config parse FILE` says whether Kong itself accepts the file";
        Failure::because(format!("{name} cannot be translated"), &error, hint)
    })?;
    let object = json!({
        "gateway": imported.config,
        "environment": imported.environment,
        "untranslated": imported.untranslated,
    });
    printer.result(&object, || imported.to_toml());
    match imported.untranslated.len() {
        0 => printer.say("Everything was translated."),
        many => printer.say(&format!(
            "{many} part(s) have no counterpart; the comments at the head of the result list them."
        )),
    }
    Ok(())
}
