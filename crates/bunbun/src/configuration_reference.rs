//! `docs/configuration.md`, made from the registry of settings.

use std::fmt::Write as _;

use bunbun_core::config::settings::SETTINGS;

const HEAD: &str = "# Configuration

Made from the code by `make openapi`; do not edit.

Layers, each beating the one before: built-in defaults, `bunbun.toml` (or the file that `--config` or
`BUNBUN_CONFIG` names), the environment, flags. An empty environment variable counts as unset. A name in
the file that means nothing is a fault, so that a typing error cannot go unnoticed. `bunbun config check`
says everything that is wrong, at once.

Durations are written `500ms`, `30s`, `5m`, `2h`; a bare number is seconds. Lists are comma separated in
the environment and arrays in the file. `bunbun dev` generates every secret that is missing and keeps it
in `DATA_DIR/bunbun.env`; `bunbun serve` refuses to start without. `bunbun dev` listens on 127.0.0.1
unless `HOST` or `--host` says otherwise. A `.env` file is not read: `set -a; . ./.env; set +a` puts it
into the environment.

```toml
[server]
port = 8000
allowed_origins = [\"https://app.example.com\"]

[services]
auth = \"http://auth:9999\"

[[gateway.routes]]
name = \"blog\"
path = \"/blog/\"
upstream = \"blog\"
access = \"open\"

[gateway.upstreams.blog]
urls = [\"http://10.0.0.5:8080\", \"http://10.0.0.6:8080\"]
```

Routes, upstreams and policies (`[gateway]`) are described in [gateway.md](gateway.md);
`bunbun routes` shows the ones in force.
";

/// The page.
pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        let (own_section, key) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if own_section != section {
            section = own_section;
            let _ = write!(
                page,
                "\n## [{section}]\n\n| setting | environment | default | |\n|---|---|---|---|\n"
            );
        }
        let default = match (setting.secret, setting.default) {
            (true, _) => "(secret)".to_owned(),
            (_, "") => String::new(),
            (_, default) => format!("`{default}`"),
        };
        let doc = setting.doc.replace('|', "\\|");
        let _ = writeln!(page, "| `{key}` | `{}` | {default} | {doc} |", setting.env);
    }
    page
}
