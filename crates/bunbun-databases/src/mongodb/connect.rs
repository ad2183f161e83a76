//! From a connection's settings to a client of the driver that can reach checked addresses only.
//!
//! The driver is never let loose on the network: it is always told to connect *directly* to one
//! server, so it follows nothing that a server announces. Whom to connect to is decided here:
//!
//! - One host without `replicaSet`: that host.
//! - Several hosts, `replicaSet` or `mongodb+srv`: each host is asked (`hello`) until the primary
//!   is found, also among the members that they announce. Every one of them has to pass [`Egress`].
//!
//! It goes through a [`Relay`], which checks and connects for it. When a connection breaks or the
//! primary changes, all of this is done anew.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_core::{egress::Egress, secret::ExposeSecret as _};
use mongodb::{
    Client,
    bson::{Document, doc},
    event::{EventHandler, cmap::CmapEvent},
    options::{
        AuthMechanism as Mechanism, ClientOptions, Credential, ServerAddress, ServerMonitoringMode,
        Tls,
    },
};
use tokio::time::timeout;

use super::{fault, relay::Relay};
use crate::{
    Error, Limits, Options, Settings,
    connection::options::{AuthMechanism, MongodbOptions},
    tls,
};

/// Most servers that are asked for the primary.
const MAX_MEMBERS: usize = 20;
/// How long the driver keeps an idle connection; the registry closes idle clients sooner or later.
const MAX_IDLE: Duration = Duration::from_secs(5 * 60);
const DEFAULT_PORT: u16 = 27017;

/// A client of one server.
pub(super) struct Live {
    pub(super) client: Client,
    open: Arc<AtomicUsize>,
    _relay: Relay,
}

impl Live {
    /// Connections that are open now.
    pub(super) fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A server's place.
type Member = (String, u16);

/// Where to begin and what the connection string's records add.
struct Seeds {
    members: Vec<Member>,
    /// Whether the primary has to be found.
    discover: bool,
    replica_set: Option<String>,
    auth_source: Option<String>,
}

/// Finds and connects to the server.
pub(super) async fn dial(
    settings: &Settings,
    egress: &Egress,
    limits: &Limits,
) -> Result<Live, Error> {
    let seeds = seeds(settings, limits).await?;
    let mut queue: VecDeque<Member> = seeds.members.iter().cloned().collect();
    let mut seen = Vec::new();
    let mut last = None;
    while let Some(member) = queue.pop_front() {
        if seen.contains(&member) || seen.len() == MAX_MEMBERS {
            continue;
        }
        seen.push(member.clone());
        match ask(settings, egress, limits, &seeds, &member).await {
            Ok((live, _)) if !seeds.discover => return Ok(live),
            Ok((live, hello)) => {
                if is_wanted(&hello, &seeds)? {
                    return Ok(live);
                }
                // The primary first, where it is known.
                for member in announced(&hello) {
                    queue.push_back(member);
                }
                if let Some(primary) = hello.get_str("primary").ok().and_then(place) {
                    queue.push_front(primary);
                }
            }
            // A wrong password is wrong at every member; trying on would lock the account.
            Err(error) if fault::is_authentication(&error) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| Error::connection_failed("no member of the replica set is its primary")))
}

/// Whether this server takes writes.
fn is_wanted(hello: &Document, seeds: &Seeds) -> Result<bool, Error> {
    if hello.get_str("msg").ok() == Some("isdbgrid") {
        return Ok(true);
    }
    let set = hello.get_str("setName").ok();
    if let Some(wanted) = &seeds.replica_set
        && set != Some(wanted)
    {
        return Err(Error::connection_failed(
            "the server is not a member of this replica set",
        ));
    }
    let is_primary = |key| hello.get_bool(key).unwrap_or_default();
    Ok(is_primary("isWritablePrimary") || is_primary("ismaster"))
}

fn announced(hello: &Document) -> impl Iterator<Item = Member> {
    ["hosts", "passives"]
        .into_iter()
        .filter_map(|key| hello.get_array(key).ok())
        .flatten()
        .filter_map(|host| host.as_str())
        .filter_map(place)
}

/// `host:port` as servers write it; sockets in the file system are none.
fn place(text: &str) -> Option<Member> {
    match ServerAddress::parse(text).ok()? {
        ServerAddress::Tcp { host, port } => Some((host, port.unwrap_or(DEFAULT_PORT))),
        _ => None,
    }
}

fn options(settings: &Settings) -> Result<&MongodbOptions, Error> {
    match &settings.options {
        Options::Mongodb(options) => Ok(options),
        _ => Err(Error::internal("the settings are another engine's")),
    }
}

async fn seeds(settings: &Settings, limits: &Limits) -> Result<Seeds, Error> {
    let options = options(settings)?;
    let several = settings.hosts.len() > 1 || options.replica_set.is_some();
    let mut seeds = Seeds {
        members: settings
            .hosts
            .iter()
            .map(|host| (host.name.clone(), host.port))
            .collect(),
        discover: several && options.direct_connection != Some(true),
        replica_set: options.replica_set.clone(),
        auth_source: options.auth_source.clone(),
    };
    if options.srv {
        let name = settings
            .hosts
            .first()
            .map(|host| host.name.as_str())
            .unwrap_or_default();
        // Nothing but the name goes into this text.
        let lookup = ClientOptions::parse(format!("mongodb+srv://{name}/"));
        let records = timeout(limits.connect_timeout, lookup).await;
        let records = records
            .map_err(|_| Error::timeout())?
            .map_err(fault::from_driver)?;
        seeds.members = records
            .hosts
            .iter()
            .filter_map(|host| match host {
                ServerAddress::Tcp { host, port } => {
                    Some((host.clone(), port.unwrap_or(DEFAULT_PORT)))
                }
                _ => None,
            })
            .collect();
        seeds.discover = true;
        seeds.replica_set = seeds.replica_set.or(records.repl_set_name);
        seeds.auth_source = seeds
            .auth_source
            .or_else(|| records.credential.and_then(|credential| credential.source));
    }
    Ok(seeds)
}

/// Connects to one server and has it introduce itself.
async fn ask(
    settings: &Settings,
    egress: &Egress,
    limits: &Limits,
    seeds: &Seeds,
    member: &Member,
) -> Result<(Live, Document), Error> {
    let live = open(settings, egress, limits, seeds, member).await?;
    let admin = live.client.database("admin");
    let hello = async {
        match admin.run_command(doc! { "hello": 1 }).await {
            // Servers before 4.4 know the older name only.
            Err(error) if fault::is_unknown_command(&error) => {
                admin.run_command(doc! { "isMaster": 1 }).await
            }
            other => other,
        }
    };
    // Selection of the server and the command itself have the connection's time each.
    let hello = timeout(limits.connect_timeout * 2, hello).await;
    let hello = hello
        .map_err(|_| Error::timeout())?
        .map_err(fault::from_driver)?;
    Ok((live, hello))
}

async fn open(
    settings: &Settings,
    egress: &Egress,
    limits: &Limits,
    seeds: &Seeds,
    (name, port): &Member,
) -> Result<Live, Error> {
    let options = options(settings)?;
    // The relay does this again at every connection; here it tells what is refused from what is down.
    drop(egress.connect(name, *port, limits.connect_timeout).await?);
    let tls = tls::client_config(settings.tls, options.ca_certificate.as_deref())?;
    let relay = Relay::start(egress, name, *port, tls, limits.connect_timeout).await;
    let relay = relay.map_err(Error::internal)?;
    let open = Arc::new(AtomicUsize::new(0));
    let mut driver = ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp {
            host: name.clone(),
            port: Some(*port),
        }])
        .direct_connection(true)
        .app_name(
            options
                .app_name
                .clone()
                .unwrap_or_else(|| "bunbun".to_owned()),
        )
        .connect_timeout(limits.connect_timeout)
        .server_selection_timeout(limits.connect_timeout)
        .max_pool_size(u32::try_from(limits.max_connections).unwrap_or(u32::MAX))
        .max_idle_time(MAX_IDLE)
        .retry_reads(false)
        .retry_writes(false)
        // One connection watches the server, not two.
        .server_monitoring_mode(ServerMonitoringMode::Poll)
        .cmap_event_handler(count(Arc::clone(&open)))
        // The relay's matter.
        .tls(Tls::Disabled)
        .build();
    driver.credential = credential(settings, options, seeds);
    driver.socks5_proxy = Some(relay.proxy());
    let client = Client::with_options(driver).map_err(fault::from_driver)?;
    Ok(Live {
        client,
        open,
        _relay: relay,
    })
}

fn credential(settings: &Settings, options: &MongodbOptions, seeds: &Seeds) -> Option<Credential> {
    let username = settings.username.clone()?;
    // As connection strings have it: the database in the path is where the user lives, else admin.
    let source = seeds
        .auth_source
        .clone()
        .or_else(|| settings.database.clone());
    let mut credential = Credential::default();
    credential.username = Some(username);
    credential.password = settings
        .password
        .as_ref()
        .map(|password| password.expose_secret().to_owned());
    credential.source = Some(source.unwrap_or_else(|| "admin".to_owned()));
    credential.mechanism = options.auth_mechanism.map(|mechanism| match mechanism {
        AuthMechanism::ScramSha1 => Mechanism::ScramSha1,
        AuthMechanism::ScramSha256 => Mechanism::ScramSha256,
    });
    Some(credential)
}

fn count(open: Arc<AtomicUsize>) -> EventHandler<CmapEvent> {
    EventHandler::callback(move |event| match event {
        CmapEvent::ConnectionCreated(_) => {
            open.fetch_add(1, Ordering::Relaxed);
        }
        CmapEvent::ConnectionClosed(_) => {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        _ => {}
    })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_member_is_a_host_and_never_a_file() {
        assert_eq!(
            place("Db1.example.com:27018"),
            Some(("db1.example.com".to_owned(), 27018))
        );
        assert_eq!(place("db1"), Some(("db1".to_owned(), 27017)));
        assert_eq!(place("[::1]:27017"), Some(("::1".to_owned(), 27017)));
        for text in [
            "/run/docker.sock",
            "%2Frun%2Fdocker.sock",
            "a.sock",
            "",
            ":1",
            "a:b",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
