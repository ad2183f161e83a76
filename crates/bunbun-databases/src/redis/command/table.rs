//! What commands are: <https://redis.io/docs/latest/commands/>. What stands nowhere here (scripts,
//! modules, commands of later versions) counts as administration.

/// Who may send a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It changes nothing and is short.
    Read,
    /// It changes data and is short.
    Write,
    /// It may hold up, change or end the server: administrators, with a confirmation.
    Administration,
    /// It makes no sense over a request and an answer.
    Never(&'static str),
}

/// Commands about the key that is their first argument, and how they are classed.
const READ: &[&str] = &[
    "GET",
    "GETRANGE",
    "STRLEN",
    "GETBIT",
    "BITCOUNT",
    "BITPOS",
    "TYPE",
    "TTL",
    "PTTL",
    "EXPIRETIME",
    "PEXPIRETIME",
    "EXISTS",
    "MGET",
    "HGET",
    "HMGET",
    "HGETALL",
    "HKEYS",
    "HVALS",
    "HLEN",
    "HEXISTS",
    "HSTRLEN",
    "HSCAN",
    "HRANDFIELD",
    "LLEN",
    "LRANGE",
    "LINDEX",
    "LPOS",
    "SCARD",
    "SISMEMBER",
    "SMISMEMBER",
    "SMEMBERS",
    "SRANDMEMBER",
    "SSCAN",
    "SINTER",
    "SUNION",
    "SDIFF",
    "ZCARD",
    "ZSCORE",
    "ZMSCORE",
    "ZRANK",
    "ZREVRANK",
    "ZCOUNT",
    "ZLEXCOUNT",
    "ZRANGE",
    "ZREVRANGE",
    "ZRANGEBYSCORE",
    "ZREVRANGEBYSCORE",
    "ZRANGEBYLEX",
    "ZSCAN",
    "ZRANDMEMBER",
    "XLEN",
    "XRANGE",
    "XREVRANGE",
    "PFCOUNT",
    "GEOPOS",
    "GEODIST",
    "GEOHASH",
    "GEOSEARCH",
    "JSON.GET",
    "JSON.TYPE",
    "JSON.STRLEN",
    "JSON.ARRLEN",
    "JSON.OBJLEN",
    "JSON.OBJKEYS",
];
const WRITE: &[&str] = &[
    "SET",
    "SETNX",
    "SETEX",
    "PSETEX",
    "GETSET",
    "GETDEL",
    "GETEX",
    "APPEND",
    "SETRANGE",
    "SETBIT",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "DECR",
    "DECRBY",
    "MSET",
    "MSETNX",
    "DEL",
    "UNLINK",
    "TOUCH",
    "EXPIRE",
    "PEXPIRE",
    "EXPIREAT",
    "PEXPIREAT",
    "PERSIST",
    "HSET",
    "HSETNX",
    "HMSET",
    "HDEL",
    "HINCRBY",
    "HINCRBYFLOAT",
    "LPUSH",
    "RPUSH",
    "LPUSHX",
    "RPUSHX",
    "LPOP",
    "RPOP",
    "LSET",
    "LINSERT",
    "LREM",
    "LTRIM",
    "LMOVE",
    "RPOPLPUSH",
    "SADD",
    "SREM",
    "SPOP",
    "SMOVE",
    "ZADD",
    "ZREM",
    "ZINCRBY",
    "ZPOPMIN",
    "ZPOPMAX",
    "XADD",
    "XDEL",
    "XTRIM",
    "XACK",
    "PFADD",
    "GEOADD",
    "JSON.SET",
    "JSON.DEL",
    "JSON.NUMINCRBY",
    "JSON.ARRAPPEND",
];
/// Without a key.
const READ_KEYLESS: &[&str] = &[
    "PING",
    "ECHO",
    "DBSIZE",
    "TIME",
    "INFO",
    "LASTSAVE",
    "RANDOMKEY",
    "ROLE",
    "SCAN",
    "COMMAND",
    "LOLWUT",
];
const WRITE_KEYLESS: &[&str] = &["PUBLISH"];

const CONNECTION: &str = "connections are shared, and it would change one of them";
const BLOCKING: &str = "it waits, and an answer should come at once";
const ENDLESS: &str = "its answer has no end; see /pubsub/subscribe";

/// What a command is.
pub(super) fn class_of(name: &str, arguments: &[Vec<u8>]) -> Class {
    let sub = || {
        arguments
            .first()
            .map(|sub| String::from_utf8_lossy(sub).to_ascii_uppercase())
            .unwrap_or_default()
    };
    match name {
        "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE"
        | "SUNSUBSCRIBE" | "MONITOR" | "SYNC" | "PSYNC" | "REPLCONF" => Class::Never(ENDLESS),
        "MULTI" | "EXEC" | "DISCARD" | "WATCH" | "UNWATCH" | "SELECT" | "AUTH" | "HELLO"
        | "QUIT" | "RESET" | "ASKING" | "READONLY" | "READWRITE" => Class::Never(CONNECTION),
        "BLPOP" | "BRPOP" | "BLMOVE" | "BRPOPLPUSH" | "BLMPOP" | "BZPOPMIN" | "BZPOPMAX"
        | "BZMPOP" | "WAIT" | "WAITAOF" => Class::Never(BLOCKING),
        "XREAD" | "XREADGROUP" => {
            if has(arguments, b"BLOCK") {
                Class::Never(BLOCKING)
            } else if name == "XREAD" && has(arguments, b"COUNT") {
                Class::Read
            } else {
                Class::Administration
            }
        }
        "CLIENT" => match sub().as_str() {
            "REPLY" | "TRACKING" | "CACHING" | "SETNAME" | "SETINFO" | "NO-TOUCH" | "NO-EVICT" => {
                Class::Never(CONNECTION)
            }
            "PAUSE" => Class::Never("it stops the whole server"),
            "ID" | "INFO" | "GETNAME" | "LIST" => Class::Read,
            _ => Class::Administration,
        },
        "OBJECT"
            if matches!(
                sub().as_str(),
                "ENCODING" | "FREQ" | "IDLETIME" | "REFCOUNT"
            ) =>
        {
            Class::Read
        }
        "MEMORY" if sub() == "USAGE" => {
            if has(arguments, b"SAMPLES") {
                Class::Administration
            } else {
                Class::Read
            }
        }
        "PUBSUB" | "XINFO" if sub() != "HELP" => Class::Read,
        "SLOWLOG" if matches!(sub().as_str(), "GET" | "LEN") => Class::Read,
        "CLUSTER"
            if matches!(
                sub().as_str(),
                "INFO" | "NODES" | "SLOTS" | "SHARDS" | "KEYSLOT"
            ) =>
        {
            Class::Read
        }
        "SCAN" | "HSCAN" | "SSCAN" | "ZSCAN" if number_after(arguments, b"COUNT") > 1000 => {
            Class::Administration
        }
        _ if READ.contains(&name) || READ_KEYLESS.contains(&name) => Class::Read,
        _ if WRITE.contains(&name) || WRITE_KEYLESS.contains(&name) => Class::Write,
        _ => Class::Administration,
    }
}

fn has(arguments: &[Vec<u8>], word: &[u8]) -> bool {
    arguments
        .iter()
        .any(|argument| argument.eq_ignore_ascii_case(word))
}

fn number_after(arguments: &[Vec<u8>], word: &[u8]) -> u64 {
    let at = arguments
        .iter()
        .rposition(|argument| argument.eq_ignore_ascii_case(word));
    at.and_then(|at| arguments.get(at + 1))
        .and_then(|number| std::str::from_utf8(number).ok()?.parse().ok())
        .unwrap_or(0)
}

/// The key that says which server of a cluster gets the command.
pub(super) fn first_key<'a>(name: &str, arguments: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    let at = match name {
        "OBJECT" | "MEMORY" | "XINFO" | "XGROUP" | "BITOP" | "DEBUG" => 1,
        "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => 2,
        "XREAD" | "XREADGROUP" => {
            1 + arguments
                .iter()
                .position(|word| word.eq_ignore_ascii_case(b"STREAMS"))?
        }
        _ if READ_KEYLESS.contains(&name) => return None,
        _ => 0,
    };
    arguments.get(at).map(Vec::as_slice)
}

/// Keys whose elements a command goes through, and the command that counts those.
pub(super) struct Size<'a> {
    pub(super) length: &'static str,
    pub(super) keys: &'a [Vec<u8>],
}

/// What has to be counted before the command may run.
pub(super) fn sizes<'a>(name: &str, arguments: &'a [Vec<u8>]) -> Option<Size<'a>> {
    let (length, keys) = match name {
        "HGETALL" | "HKEYS" | "HVALS" => ("HLEN", arguments.get(..1)?),
        "SMEMBERS" => ("SCARD", arguments.get(..1)?),
        "SINTER" | "SUNION" | "SDIFF" => ("SCARD", arguments),
        "LRANGE" | "LREM" | "LTRIM" | "LINSERT" => ("LLEN", arguments.get(..1)?),
        "ZRANGE" | "ZREVRANGE" | "ZRANGEBYSCORE" | "ZREVRANGEBYSCORE" | "ZRANGEBYLEX"
        | "GEOSEARCH" => ("ZCARD", arguments.get(..1)?),
        "XRANGE" | "XREVRANGE" if number_after(arguments, b"COUNT") == 0 => {
            ("XLEN", arguments.get(..1)?)
        }
        "XTRIM" => ("XLEN", arguments.get(..1)?),
        _ => return None,
    };
    Some(Size { length, keys })
}
