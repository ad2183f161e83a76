//! Opening a connection: socket, TLS, start-up message, authentication.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bunbun_postgres::Target;
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    },
    message::{backend::Message, frontend},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_rustls::TlsConnector;

use super::{
    super::{
        error::{Error, SqlError},
        query::Statements,
    },
    CancelKey, Connection, Reader, Session, Tag, frame,
    stream::Stream,
};

impl Connection {
    /// Connects to the first of the target's hosts that lets us in.
    pub(crate) async fn open(
        target: &Arc<Target>,
        statement_timeout: Duration,
    ) -> Result<Self, Error> {
        let limit = target
            .config
            .get_connect_timeout()
            .copied()
            .unwrap_or(Duration::from_secs(10));
        let mut failure = Error::unavailable("the database URL names no host");
        for host in 0..hosts(target) {
            match tokio::time::timeout(limit, start(target, host, statement_timeout)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = Error::unavailable("connecting took too long"),
            }
        }
        // Whatever the reason, a caller can only wait: also a wrong password is the operator's.
        Err(match failure {
            Error::Unavailable(_) => failure,
            other => Error::unavailable(other),
        })
    }
}

fn hosts(target: &Target) -> usize {
    target
        .config
        .get_hosts()
        .len()
        .max(target.config.get_hostaddrs().len())
}

/// Opens the byte stream to one host, with TLS as the target wants it.
pub(super) async fn open(target: &Target, host: usize) -> Result<Stream, Error> {
    let config = &target.config;
    let ports = config.get_ports();
    let port = ports
        .get(host)
        .or_else(|| ports.first())
        .copied()
        .unwrap_or(5432);
    let address: Option<IpAddr> = config.get_hostaddrs().get(host).copied();
    let name = match config.get_hosts().get(host) {
        Some(Host::Unix(directory)) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let stream = UnixStream::connect(path)
                .await
                .map_err(Error::unavailable)?;
            return Ok(Stream::Unix(stream));
        }
        Some(Host::Tcp(name)) => name.clone(),
        None => address
            .map(|address| address.to_string())
            .unwrap_or_default(),
    };
    let tcp = match address {
        Some(address) => TcpStream::connect(SocketAddr::new(address, port)).await,
        None => TcpStream::connect((name.as_str(), port)).await,
    }
    .map_err(Error::unavailable)?;
    tcp.set_nodelay(true).map_err(Error::unavailable)?;
    // A peer that vanished without a word must not hold a connection for ever.
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    socket2::SockRef::from(&tcp)
        .set_tcp_keepalive(&keepalive)
        .map_err(Error::unavailable)?;
    secure(tcp, target, &name).await
}

async fn secure(mut tcp: TcpStream, target: &Target, name: &str) -> Result<Stream, Error> {
    let mode = target.config.get_ssl_mode();
    if mode == SslMode::Disable {
        return Ok(Stream::Tcp(tcp));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(Error::unavailable)?;
    // Exactly one byte: whatever follows it unencrypted is not PostgreSQL's.
    match tcp.read_u8().await.map_err(Error::unavailable)? {
        b'S' => {}
        _ if mode == SslMode::Prefer => return Ok(Stream::Tcp(tcp)),
        _ => {
            return Err(Error::unavailable(
                "the server has no TLS but sslmode wants it",
            ));
        }
    }
    let name = ServerName::try_from(name.to_owned()).map_err(Error::unavailable)?;
    let connector = TlsConnector::from(Arc::new(target.tls.clone()));
    let stream = connector
        .connect(name, tcp)
        .await
        .map_err(Error::unavailable)?;
    Ok(Stream::Tls(Box::new(stream)))
}

async fn start(
    target: &Arc<Target>,
    host: usize,
    statement_timeout: Duration,
) -> Result<Connection, Error> {
    let mut connection = Connection {
        stream: open(target, host).await?,
        incoming: BytesMut::new(),
        current: 0,
        outgoing: BytesMut::new(),
        awaited: 0,
        is_fresh: false,
        unsynced: false,
        is_writing: false,
        is_broken: false,
        statement_timeout_millis: super::timeout_millis(statement_timeout),
        session: Session::Idle,
        cancel_key: CancelKey {
            target: Arc::clone(target),
            host,
            process_id: 0,
            secret: 0,
        },
        runtime: tokio::runtime::Handle::current().id(),
        rested_at: Instant::now(),
        counted: None,
        statements: Statements::default(),
        types: HashMap::new(),
    };
    let config = &target.config;
    let user = config
        .get_user()
        .ok_or_else(|| Error::unavailable("the URL names no user"))?;
    let timeout = connection.statement_timeout_millis.to_string();
    let mut parameters = vec![
        ("user", user),
        ("database", config.get_dbname().unwrap_or(user)),
        ("client_encoding", "UTF8"),
        // The text forms that our conversion reads.
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
        ("IntervalStyle", "postgres"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        // What the scanner of SQL texts assumes.
        ("standard_conforming_strings", "on"),
        ("statement_timeout", timeout.as_str()),
    ];
    if let Some(name) = config.get_application_name() {
        parameters.push(("application_name", name));
    }
    if let Some(options) = config.get_options() {
        parameters.push(("options", options));
    }
    frontend::startup_message(parameters, &mut connection.outgoing).map_err(Error::internal)?;
    connection.flush().await?;
    authenticate(&mut connection, user, config.get_password()).await?;
    finish(&mut connection).await?;
    if config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
        refuse_read_only(&mut connection).await?;
    }
    Ok(connection)
}

/// A server that takes no writes is as good as none to who wants to write.
async fn refuse_read_only(connection: &mut Connection) -> Result<(), Error> {
    connection.add_simple_query("SHOW transaction_read_only")?;
    connection.flush().await?;
    let mut is_read_only = true;
    while connection.awaited > 0 {
        if connection.next().await? == Tag::DataRow {
            let mut reader = Reader(connection.body());
            reader.u16();
            is_read_only = reader.value().flatten() != Some(b"off");
        }
    }
    if is_read_only {
        return Err(Error::unavailable("the server takes no writes"));
    }
    Ok(())
}

async fn authenticate(
    connection: &mut Connection,
    user: &str,
    password: Option<&[u8]>,
) -> Result<(), Error> {
    let needed = || password.ok_or_else(|| Error::unavailable("the server wants a password"));
    let reply = match message(connection).await? {
        Message::AuthenticationOk => return Ok(()),
        Message::AuthenticationCleartextPassword => needed()?.to_vec(),
        Message::AuthenticationMd5Password(body) => {
            md5_hash(user.as_bytes(), needed()?, body.salt()).into_bytes()
        }
        Message::AuthenticationSasl(body) => {
            let offered = body
                .mechanisms()
                .any(|name| Ok(name == SCRAM_SHA_256))
                .map_err(Error::internal)?;
            if !offered {
                return Err(Error::unavailable(
                    "the server wants an unknown authentication",
                ));
            }
            return scram(connection, needed()?).await;
        }
        _ => {
            return Err(Error::unavailable(
                "the server wants an unknown authentication",
            ));
        }
    };
    frontend::password_message(&reply, &mut connection.outgoing).map_err(Error::internal)?;
    connection.flush().await?;
    match message(connection).await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(Error::unavailable("unexpected message in authentication")),
    }
}

async fn scram(connection: &mut Connection, password: &[u8]) -> Result<(), Error> {
    let unexpected = || Error::unavailable("unexpected message in authentication");
    // Without channel binding, which is said openly: a server that insists on it refuses.
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut connection.outgoing)
        .map_err(Error::internal)?;
    connection.flush().await?;
    let Message::AuthenticationSaslContinue(body) = message(connection).await? else {
        return Err(unexpected());
    };
    scram.update(body.data()).map_err(Error::unavailable)?;
    frontend::sasl_response(scram.message(), &mut connection.outgoing).map_err(Error::internal)?;
    connection.flush().await?;
    let Message::AuthenticationSaslFinal(body) = message(connection).await? else {
        return Err(unexpected());
    };
    // Proves that the server knows the password too.
    scram.finish(body.data()).map_err(Error::unavailable)?;
    match message(connection).await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(unexpected()),
    }
}

/// Reads the parameters and the cancel key until the session is ready.
async fn finish(connection: &mut Connection) -> Result<(), Error> {
    loop {
        match message(connection).await? {
            Message::BackendKeyData(body) => {
                connection.cancel_key.process_id = body.process_id();
                connection.cancel_key.secret = body.secret_key();
            }
            Message::ReadyForQuery(_) => return Ok(()),
            _ => {}
        }
    }
}

/// The next message of the start-up; an error report is an error.
async fn message(connection: &mut Connection) -> Result<Message, Error> {
    loop {
        while !connection.complete()? {
            connection.read().await?;
        }
        if connection.incoming[0] == b'E' {
            let error: SqlError = frame::error(connection.body());
            return Err(Error::unavailable(error));
        }
        connection.current = 0;
        match Message::parse(&mut connection.incoming).map_err(Error::unavailable)? {
            Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) | None => {}
            Some(message) => return Ok(message),
        }
    }
}
