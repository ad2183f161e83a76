//! TLS towards a server. Certificates come as text: nothing here reads a file.

use std::sync::Arc;

use bunbun_postgres::tls::{self, Roots};
use rustls::ClientConfig;

use crate::{Error, TlsMode};

/// What the mode asks for; `None`: no TLS.
pub(crate) fn client_config(
    mode: TlsMode,
    authority: Option<&str>,
) -> Result<Option<Arc<ClientConfig>>, Error> {
    let roots = match mode {
        TlsMode::Disable | TlsMode::Prefer => return Ok(None),
        TlsMode::Require => None,
        TlsMode::VerifyFull => Some(authority.map_or(Roots::Public, Roots::Pem)),
    };
    let config = tls::client_config(roots).map_err(|_| {
        let message = "This is no certificate in PEM form.";
        Error::invalid(message, "/options/ca_certificate")
    })?;
    Ok(Some(Arc::new(config)))
}
