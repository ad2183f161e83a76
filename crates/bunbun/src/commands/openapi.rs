//! `bunbun openapi`: the OpenAPI document, and every file that is made from the code.

use std::{
    io,
    path::{Path, PathBuf},
};

use bunbun_api::{openapi, reference};
use serde_json::json;

use crate::{cli::OpenapiArguments, configuration_reference, failure::Failure, printer::Printer};

const API_FOLDER: &str = "docs/api";

/// Prints the document, or writes or checks the generated files.
pub(crate) fn run(arguments: &OpenapiArguments, printer: &Printer) -> Result<(), Failure> {
    if let Some(root) = &arguments.write {
        return write(root, printer);
    }
    if let Some(root) = &arguments.check {
        return check(root, printer);
    }
    printer.raw(&openapi::pretty(&bunbun_api::document()));
    Ok(())
}

/// Every generated file, by its path below the project's root.
fn generated() -> Vec<(PathBuf, String)> {
    let document = bunbun_api::document();
    let mut files = vec![
        ("openapi/bunbun.json".into(), openapi::pretty(&document)),
        (
            "docs/configuration.md".into(),
            configuration_reference::page(),
        ),
    ];
    for (name, text) in reference::pages(&document) {
        files.push((Path::new(API_FOLDER).join(name), text));
    }
    files
}

fn write(root: &Path, printer: &Printer) -> Result<(), Failure> {
    let files = generated();
    for path in stale_pages(root, &files) {
        std::fs::remove_file(&path).map_err(|error| cannot_write(&path, &error))?;
    }
    for (path, text) in &files {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(root);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| cannot_write(&path, &error))?;
    }
    let names: Vec<_> = files.iter().map(|(path, _)| path).collect();
    printer.result(&json!({ "written": names }), || {
        names
            .iter()
            .map(|name| format!("{}\n", name.display()))
            .collect()
    });
    Ok(())
}

fn check(root: &Path, printer: &Printer) -> Result<(), Failure> {
    let files = generated();
    let mut wrong: Vec<String> = files
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    let stale = stale_pages(root, &files);
    wrong.extend(stale.iter().map(|path| path.display().to_string()));
    if wrong.is_empty() {
        printer.result(&json!({ "current": true }), || "current\n".to_owned());
        return Ok(());
    }
    Err(Failure::new(
        format!("not what the code says: {}", wrong.join(", ")),
        "run `make openapi` and commit the result",
    ))
}

/// Pages of the reference whose part of the API is gone.
fn stale_pages(root: &Path, files: &[(PathBuf, String)]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root.join(API_FOLDER)) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter(|path| !files.iter().any(|(name, _)| root.join(name) == *path))
        .collect()
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    let problem = format!("{} cannot be written", path.display());
    Failure::because(problem, error, "DIR is the root of BunBun's source tree")
}
