//! What commands are: <https://redis.io/docs/latest/commands/>. What stands nowhere here (scripts,
//! modules, commands of later versions) counts as administration.

/// Elements that a command may go through, unless an administrator says so.
pub(super) const MAX_ELEMENTS: u64 = 10_000;

/// Longest string that a command may take away with its answer.
const MAX_TAKEN_BYTES: u64 = 32 << 20;

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
            let is_streams = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"STREAMS");
            let options = arguments.iter().position(is_streams);
            if has(&arguments[..options.unwrap_or(arguments.len())], b"BLOCK") {
                Class::Never(BLOCKING)
            } else if name == "XREAD" && is_short_xread(arguments) {
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
        // All of a stream, if it is asked to count nothing off.
        "XINFO" if has(arguments, b"FULL") => Class::Administration,
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

/// The greatest number behind this word: Redis takes one of them, and a word may also be a value.
fn number_after(arguments: &[Vec<u8>], word: &[u8]) -> u64 {
    let pairs = arguments.windows(2);
    pairs
        .filter(|pair| pair[0].eq_ignore_ascii_case(word))
        .filter_map(|pair| number(&pair[1]))
        .map(i64::unsigned_abs)
        .max()
        .unwrap_or(0)
}

fn number(argument: &[u8]) -> Option<i64> {
    std::str::from_utf8(argument).ok()?.parse().ok()
}

/// `COUNT n STREAMS …`, and of all streams together not more than is short.
fn is_short_xread(arguments: &[Vec<u8>]) -> bool {
    let [word, count, streams, keys @ ..] = arguments else {
        return false;
    };
    let count = number(count).and_then(|count| u64::try_from(count).ok());
    word.eq_ignore_ascii_case(b"COUNT")
        && streams.eq_ignore_ascii_case(b"STREAMS")
        && count.is_some_and(|count| {
            count > 0 && count.saturating_mul(keys.len() as u64 / 2) <= MAX_ELEMENTS
        })
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
    pub(super) most: u64,
}

/// How many elements a command names itself: random or taken ones, a part by its ends, a page.
/// `None` where its keys say it.
pub(super) fn named(name: &str, arguments: &[Vec<u8>]) -> Option<u64> {
    let at = |index: usize| arguments.get(index).and_then(|argument| number(argument));
    match name {
        // Negative counts: as many, some of them several times.
        "SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" | "LPOP" | "RPOP" | "SPOP" | "ZPOPMIN"
        | "ZPOPMAX" => Some(at(1).unwrap_or(1).unsigned_abs()),
        "LRANGE" | "ZRANGE" | "ZREVRANGE"
            if arguments.len() == 3 || has(&arguments[3..], b"WITHSCORES") =>
        {
            let (start, end) = (at(1)?, at(2)?);
            let is_plain = arguments.len() <= 4 && (start < 0) == (end < 0);
            is_plain
                .then(|| u64::try_from(end.saturating_sub(start).saturating_add(1)).unwrap_or(0))
        }
        "XRANGE" | "XREVRANGE" => {
            Some(number_after(arguments, b"COUNT")).filter(|count| *count > 0)
        }
        _ => None,
    }
}

/// What has to be counted before the command may run.
pub(super) fn sizes<'a>(name: &str, arguments: &'a [Vec<u8>]) -> Option<Size<'a>> {
    let (length, keys) = match name {
        // The old value is gone when its answer turns out to be too large.
        "GETDEL" | "GETSET" => ("STRLEN", arguments.get(..1)?),
        "SET" if has(arguments.get(2..)?, b"GET") => ("STRLEN", arguments.get(..1)?),
        "HGETALL" | "HKEYS" | "HVALS" => ("HLEN", arguments.get(..1)?),
        "SMEMBERS" => ("SCARD", arguments.get(..1)?),
        "SINTER" | "SUNION" | "SDIFF" => ("SCARD", arguments),
        "LRANGE" | "LREM" | "LTRIM" | "LINSERT" | "LPOS" => ("LLEN", arguments.get(..1)?),
        "ZRANGE" | "ZREVRANGE" | "ZRANGEBYSCORE" | "ZREVRANGEBYSCORE" | "ZRANGEBYLEX"
        | "GEOSEARCH" => ("ZCARD", arguments.get(..1)?),
        "XRANGE" | "XREVRANGE" | "XTRIM" => ("XLEN", arguments.get(..1)?),
        _ => return None,
    };
    let most = match length {
        "STRLEN" => MAX_TAKEN_BYTES,
        _ => MAX_ELEMENTS,
    };
    Some(Size { length, keys, most })
}

#[cfg(test)]
mod tests {
    use super::{Class, class_of, named};

    fn words(command: &str) -> (String, Vec<Vec<u8>>) {
        let mut parts = command.split(' ');
        let name = parts.next().expect("a name").to_owned();
        (name, parts.map(|part| part.as_bytes().to_vec()).collect())
    }

    #[test]
    fn what_a_command_names_is_what_it_goes_through() {
        for (command, expected) in [
            ("SRANDMEMBER s", Some(1)),
            ("SRANDMEMBER s -1000000000", Some(1_000_000_000)),
            (
                "HRANDFIELD h -9223372036854775808 WITHVALUES",
                Some(1 << 63),
            ),
            ("LPOP l 200000", Some(200_000)),
            ("LRANGE l 0 9", Some(10)),
            ("LRANGE l -10 -1", Some(10)),
            ("LRANGE l 0 -1", None),
            ("ZRANGE z 0 9 WITHSCORES", Some(10)),
            ("ZRANGE z 0 9 BYSCORE", None),
            ("ZRANGE z 0 9 BYSCORE WITHSCORES", None),
            ("XRANGE x - +", None),
            ("XRANGE x - + COUNT 200000", Some(200_000)),
            ("GET a", None),
        ] {
            let (name, arguments) = words(command);
            assert_eq!(named(&name, &arguments), expected, "{command}");
        }
    }

    #[test]
    fn words_that_are_values_hide_no_options() {
        for command in [
            "SCAN 0 COUNT 1000000 MATCH COUNT",
            "SCAN 0 MATCH COUNT COUNT 1000000",
            "XREAD STREAMS COUNT 0",
            "XREAD COUNT 0 STREAMS a 0",
            "XREAD COUNT -1 STREAMS a 0",
            "XREAD COUNT 9000 STREAMS a b 0 0",
            "XINFO STREAM a FULL COUNT 0",
        ] {
            let (name, arguments) = words(command);
            assert_eq!(
                class_of(&name, &arguments),
                Class::Administration,
                "{command}"
            );
        }
        for command in [
            "SCAN 0 COUNT 10",
            "XREAD COUNT 10 STREAMS a 0",
            "XREAD COUNT 10 STREAMS BLOCK 0",
        ] {
            let (name, arguments) = words(command);
            assert_eq!(class_of(&name, &arguments), Class::Read, "{command}");
        }
    }
}
