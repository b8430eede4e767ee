//! Redis and Valkey: records are strings with a TTL, changes are pushed by RESP3 client tracking.
//!
//! `CLIENT TRACKING ON BCAST PREFIX …` needs no server configuration and tells of every SET, PEXPIRE, DEL, expiry
//! and FLUSHALL under a prefix. The pushes come on the connection that reads, so a push that was sent before a reply
//! is seen before it. Reads are `PTTL` + `GETRANGE` (never `GET`: a value of 512 MB would be sent in full).

mod marks;
mod tls;

use super::keys::{Keyspace, Space};
use super::nudges::Nudges;
use super::{
    Boxed, Error, Fields, Found, Left, Options, Page, Problem, RawKey, Session, Store, TlsFiles, ZoneMark,
};
use crate::limits::registry as limits;
use crate::model::AgentKey;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value, cmd,
};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A Redis server (standalone). Nothing is connected before it is needed.
pub struct RedisStore {
    name: String,
    keyspace: Keyspace,
    info: ConnectionInfo,
    /// Files of a TLS connection; `None` without TLS.
    tls: Option<TlsFiles>,
    operation: Duration,
    /// For writes, apart from the connection that follows.
    writer: Mutex<Writer>,
    /// For transactions on the marks of zones, which need a connection of their own.
    marks: Mutex<Option<MultiplexedConnection>>,
}

/// The connection for writes: none until it is needed and after each failure.
#[derive(Default)]
struct Writer {
    connection: Option<MultiplexedConnection>,
    /// Counts connections.
    number: u64,
}

impl RedisStore {
    /// The server at `url`, not connected yet.
    pub fn new(url: &str, keyspace: Keyspace, options: &Options) -> Result<Self, Error> {
        // What the parser says of a bad URL is not repeated: it may quote the password.
        let form =
            || Error::Url("it can't be read; write redis://[user[:password]@]host[:port][/db]".to_owned());
        let info: ConnectionInfo = url.into_connection_info().map_err(|_| form())?;
        let tls = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                let what = "\"#insecure\" would believe anybody: name the authority by ca_file instead";
                return Err(Error::Url(what.to_owned()));
            }
            ConnectionAddr::TcpTls { .. } => Some(options.tls.clone()),
            _ if options.tls != TlsFiles::default() => {
                let what = "certificates are given, and it is no TLS address: write rediss://";
                return Err(Error::Url(what.to_owned()));
            }
            _ => None,
        };
        let mut settings =
            info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
        if let Some(password) = &options.password {
            settings = settings.set_password(password.trim_end_matches(['\r', '\n']));
        }
        let name = name_of(info.addr(), settings.db());
        let info = info.set_redis_settings(settings);
        let store = Self {
            name,
            keyspace,
            info,
            tls,
            operation: options.operation,
            writer: Mutex::default(),
            marks: Mutex::default(),
        };
        store.client()?;
        Ok(store)
    }

    /// What connects. With TLS it reads the certificates, which may have been renewed since the last time.
    fn client(&self) -> Result<Client, Error> {
        match &self.tls {
            Some(files) => tls::client(self.info.clone(), files),
            None => Client::open(self.info.clone())
                .map_err(|error| Error::Unreachable(self.name.clone(), Some(Box::new(error)))),
        }
    }

    async fn connect(&self, config: AsyncConnectionConfig) -> Result<MultiplexedConnection, Error> {
        let config =
            config.set_connection_timeout(Some(self.operation)).set_response_timeout(Some(self.operation));
        let client = self.client()?;
        let connect = client.get_multiplexed_async_connection_with_config(&config);
        timed(&self.name, self.operation, connect).await
    }

    /// Runs one command on the connection for writes, the wait for that connection included in its deadline.
    async fn write(&self, command: Cmd) -> Result<Value, Error> {
        match tokio::time::timeout(self.operation, self.write_on(command)).await {
            Ok(done) => done,
            Err(_) => Err(late(&self.name, self.operation)),
        }
    }

    async fn write_on(&self, command: Cmd) -> Result<Value, Error> {
        let (number, mut connection) = {
            let mut writer = self.writer.lock().await;
            if writer.connection.is_none() {
                writer.connection = Some(self.connect(AsyncConnectionConfig::new()).await?);
                writer.number += 1;
            }
            let Some(connection) = writer.connection.clone() else {
                return Err(Error::Unreachable(self.name.clone(), None));
            };
            (writer.number, connection)
        };
        let done = timed(&self.name, self.operation, answer(&mut connection, &command)).await;
        if let Err(Error::Unreachable(..)) = &done {
            // A late failure on an old connection must not close the one that replaced it.
            let mut writer = self.writer.lock().await;
            if writer.number == number {
                writer.connection = None;
            }
        }
        done
    }

    async fn follow(&self) -> Result<RedisSession, Error> {
        let nudges = Arc::new(Nudges::default());
        let config = AsyncConnectionConfig::new().set_push_sender({
            let nudges = Arc::clone(&nudges);
            move |push: PushInfo| -> Result<(), std::convert::Infallible> {
                hear(&nudges, &push);
                Ok(())
            }
        });
        let connection = self.connect(config).await?;
        let mut session = RedisSession {
            name: self.name.clone(),
            keyspace: self.keyspace.clone(),
            connection,
            nudges,
            operation: self.operation,
        };
        self.check_mode(&session.run(&cmd("HELLO")).await?)?;
        let tracking = self.tracking();
        session.run(&tracking).await?;
        Ok(session)
    }

    /// One node of a cluster would show its own part of the keys as if they were all.
    fn check_mode(&self, hello: &Value) -> Result<(), Error> {
        let is_mode = |key: &Value| matches!(key, Value::BulkString(key) if key == b"mode");
        let mode = match hello {
            Value::Map(pairs) => pairs.iter().find(|(key, _)| is_mode(key)).map(|(_, mode)| mode),
            _ => None,
        };
        match mode {
            Some(Value::BulkString(mode)) if mode != b"standalone" => Err(Error::Refused(
                self.name.clone(),
                format!("it runs in {} mode; follow a standalone Redis", String::from_utf8_lossy(mode)),
            )),
            _ => Ok(()),
        }
    }

    fn tracking(&self) -> Cmd {
        let mut command = cmd("CLIENT");
        command.arg("TRACKING").arg("ON").arg("BCAST");
        for space in [Space::Agents, Space::Topics] {
            command.arg("PREFIX").arg(self.keyspace.prefix(space));
        }
        command
    }

    async fn try_steps(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let quiet = |_: PushInfo| -> Result<(), std::convert::Infallible> { Ok(()) };
        let mut connection = match self.connect(AsyncConnectionConfig::new().set_push_sender(quiet)).await {
            Ok(connection) => connection,
            Err(error) => {
                let hint = match &error {
                    Error::Tls(_) => "check ca_file, certificate_file and key_file",
                    Error::Unreachable(..) if self.tls.is_some() => {
                        "check host, port and firewall, that TLS is spoken there (tls-port), and that ca_file names the \
                         authority of its certificate; SSL_CERT_FILE and SSL_CERT_DIR, if set, must be readable even so"
                    }
                    Error::Unreachable(..) => {
                        "check host, port and firewall, and that the server is Redis 6 or later"
                    }
                    _ => {
                        "check the user, the password and the database; HELLO 3 must be allowed (Redis 6 or later, or Valkey), and SELECT for a database other than 0"
                    }
                };
                problems.push(Problem { step: "connect", error: chain(&error), hint: hint.to_owned() });
                return problems;
            }
        };
        let hello = timed(&self.name, self.operation, answer(&mut connection, &cmd("HELLO"))).await;
        if let Err(error) = hello.and_then(|hello| self.check_mode(&hello)) {
            let hint = "Sentinel and Redis Cluster are not supported yet: name a standalone Redis".to_owned();
            problems.push(Problem { step: "HELLO", error: chain(&error), hint });
        }
        let agents = self.keyspace.prefix(Space::Agents);
        let topics = self.keyspace.prefix(Space::Topics);
        let probe = format!("{agents}{{probe}}:probe:probe");
        let mut step = async |step: &'static str, command: &Cmd, rule: String| {
            if let Err(error) = timed(&self.name, self.operation, answer(&mut connection, command)).await {
                problems.push(Problem {
                    step,
                    error: chain(&error),
                    hint: format!("ACL SETUSER <user> {rule}"),
                });
            }
        };
        step("PING", &cmd("PING"), "+ping".to_owned()).await;
        step("CLIENT TRACKING", &self.tracking(), "+client|tracking".to_owned()).await;
        let scan = scan_command(&self.keyspace, Space::Agents, 0);
        step("SCAN", &scan, "+scan".to_owned()).await;
        step("PTTL", cmd("PTTL").arg(&probe), format!("+pttl %R~{agents}*")).await;
        step("GETRANGE", cmd("GETRANGE").arg(&probe).arg(0).arg(0), format!("+getrange %R~{agents}*")).await;
        let fields = format!("{topics}{{probe}}");
        step("HSCAN", cmd("HSCAN").arg(&fields).arg(0), format!("+hscan %R~{topics}*")).await;
        problems
    }
}

impl Store for RedisStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    fn put<'a>(&'a self, key: &'a AgentKey, value: &'a str, lease: Duration) -> Boxed<'a, Result<(), Error>> {
        let millis = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = cmd("SET");
        set.arg(self.keyspace.agent(key)).arg(value).arg("PX").arg(millis);
        Box::pin(async move { self.write(set).await.map(drop) })
    }

    fn remove<'a>(&'a self, key: &'a AgentKey) -> Boxed<'a, Result<bool, Error>> {
        let mut del = cmd("DEL");
        del.arg(self.keyspace.agent(key));
        Box::pin(async move { Ok(matches!(self.write(del).await?, Value::Int(count) if count > 0)) })
    }

    fn current<'a>(&'a self, key: &'a AgentKey) -> Boxed<'a, Result<Option<Vec<u8>>, Error>> {
        let mut get = cmd("GETRANGE");
        get.arg(self.keyspace.agent(key)).arg(0).arg(limits::RECORD_BYTES);
        Box::pin(async move {
            Ok(match self.write(get).await? {
                Value::BulkString(bytes) if !bytes.is_empty() => Some(bytes),
                _ => None,
            })
        })
    }

    fn zone_mark<'a>(&'a self, apex: &'a str) -> Boxed<'a, Result<Option<ZoneMark>, Error>> {
        Box::pin(self.read_mark(apex))
    }

    fn swap_zone_mark<'a>(
        &'a self,
        apex: &'a str,
        expected: Option<&'a ZoneMark>,
        new: &'a ZoneMark,
    ) -> Boxed<'a, Result<bool, Error>> {
        Box::pin(self.swap_mark(apex, expected, new))
    }

    fn session<'a>(&'a self) -> Boxed<'a, Result<Box<dyn Session>, Error>> {
        Box::pin(async move {
            let session: Box<dyn Session> = Box::new(self.follow().await?);
            Ok(session)
        })
    }

    fn probe<'a>(&'a self) -> Boxed<'a, Vec<Problem>> {
        Box::pin(self.try_steps())
    }
}

/// Hands one push on. Called by the connection itself: it must not wait.
fn hear(nudges: &Nudges, push: &PushInfo) {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Invalidate, [Value::Array(keys), ..]) => {
            for key in keys {
                if let Value::BulkString(key) = key {
                    nudges.push(key);
                }
            }
        }
        // FLUSHALL and FLUSHDB name no keys.
        (PushKind::Invalidate, _) => nudges.push_flush(),
        (PushKind::Disconnection, _) => nudges.push_lost("the connection was closed"),
        _ => {}
    }
}

struct RedisSession {
    name: String,
    keyspace: Keyspace,
    connection: MultiplexedConnection,
    nudges: Arc<Nudges>,
    operation: Duration,
}

impl RedisSession {
    async fn run(&mut self, command: &Cmd) -> Result<Value, Error> {
        timed(&self.name, self.operation, answer(&mut self.connection, command)).await
    }

    async fn read_batch(&mut self, keys: &[RawKey]) -> Result<Vec<Found>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len() * 2);
        for key in keys {
            // The lease first: if the key goes between the two, an empty value with no time left says so.
            pipeline.cmd("PTTL").arg(&**key);
            pipeline.cmd("GETRANGE").arg(&**key).arg(0).arg(limits::RECORD_BYTES);
        }
        let wanted = keys.len() * 2;
        let run = self.connection.send_packed_commands(&pipeline, 0, wanted);
        let values = timed(&self.name, self.operation, run).await?;
        if values.len() != wanted {
            return Err(Error::Unreachable(self.name.clone(), Some("it answered with another count".into())));
        }
        let mut values = values.into_iter();
        let mut found = Vec::with_capacity(keys.len());
        while let (Some(left), Some(value)) = (values.next(), values.next()) {
            found.push(found_of(left, value));
        }
        Ok(found)
    }

    async fn read_fields(&mut self, key: &[u8]) -> Result<Fields, Error> {
        let mut out = Vec::new();
        let mut cursor = 0;
        loop {
            let mut hscan = cmd("HSCAN");
            hscan.arg(key).arg(cursor).arg("COUNT").arg(limits::SCAN_COUNT);
            let step = match self.run(&hscan).await {
                Ok(step) => step,
                Err(Error::Refused(_, reason)) => return Ok(Fields::Unreadable(reason)),
                Err(error) => return Err(error),
            };
            let (next, items) = cursor_of(step);
            let mut items = items.into_iter();
            while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) =
                (items.next(), items.next())
            {
                out.push((name, value));
            }
            if next == 0 || out.len() > limits::TOPICS {
                break;
            }
            cursor = next;
        }
        // HSCAN may tell a field twice while the hash is rebuilt.
        out.sort();
        out.dedup_by(|a, b| a.0 == b.0);
        let more = out.len() > limits::TOPICS;
        out.truncate(limits::TOPICS);
        Ok(if out.is_empty() { Fields::Missing } else { Fields::Some { fields: out, more } })
    }
}

impl Session for RedisSession {
    fn nudges(&self) -> &Arc<Nudges> {
        &self.nudges
    }

    fn scan<'a>(&'a mut self, space: Space, cursor: u64) -> Boxed<'a, Result<Page, Error>> {
        Box::pin(async move {
            let command = scan_command(&self.keyspace, space, cursor);
            let (next, items) = cursor_of(self.run(&command).await?);
            let keys = items.into_iter().filter_map(|item| match item {
                Value::BulkString(key) => Some(RawKey::from(key)),
                _ => None,
            });
            Ok(Page { keys: keys.collect(), next })
        })
    }

    fn read<'a>(&'a mut self, keys: &'a [RawKey]) -> Boxed<'a, Result<Vec<Found>, Error>> {
        Box::pin(self.read_batch(keys))
    }

    fn fields<'a>(&'a mut self, key: &'a [u8]) -> Boxed<'a, Result<Fields, Error>> {
        Box::pin(self.read_fields(key))
    }

    fn ping<'a>(&'a mut self) -> Boxed<'a, Result<(), Error>> {
        Box::pin(async move { self.run(&cmd("PING")).await.map(drop) })
    }
}

fn scan_command(keyspace: &Keyspace, space: Space, cursor: u64) -> Cmd {
    let mut command = cmd("SCAN");
    let pattern = format!("{}*", keyspace.prefix(space));
    command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(limits::SCAN_COUNT);
    command
}

/// What `PTTL` and `GETRANGE` of one key say together.
fn found_of(left: Value, value: Value) -> Found {
    match (left, value) {
        (Value::ServerError(error), _) | (_, Value::ServerError(error)) => {
            Found::Unreadable(unreadable(error.code(), error.details()))
        }
        (Value::Int(-2), _) => Found::Missing,
        (Value::Int(-1), Value::BulkString(bytes)) => Found::Value { bytes, left: Left::Forever },
        // It ran out between the two commands.
        (Value::Int(0..=1), Value::BulkString(bytes)) if bytes.is_empty() => Found::Missing,
        (Value::Int(left), Value::BulkString(bytes)) => {
            Found::Value { bytes, left: Left::Millis(u64::try_from(left).unwrap_or(0)) }
        }
        (_, other) => {
            Found::Unreadable(format!("an unexpected reply: {other:?}").chars().take(200).collect())
        }
    }
}

fn unreadable(code: &str, details: Option<&str>) -> String {
    match code {
        "WRONGTYPE" => "the key holds no string: write it with SET".to_owned(),
        "NOPERM" => "access denied: the user that follows needs read rights on this key".to_owned(),
        code => format!("{code} {}", details.unwrap_or_default()),
    }
}

/// The next cursor and the items of a SCAN or HSCAN reply.
fn cursor_of(reply: Value) -> (u64, Vec<Value>) {
    let Value::Array(parts) = reply else { return (0, Vec::new()) };
    let mut parts = parts.into_iter();
    let next = match parts.next() {
        Some(Value::BulkString(text)) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
        Some(Value::Int(next)) => u64::try_from(next).ok(),
        _ => None,
    };
    let items = match parts.next() {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    (next.unwrap_or(0), items)
}

/// One command's reply; an error reply is an error.
async fn answer(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection.send_packed_command(command).await?.extract_error()
}

/// Runs an operation with its deadline, and says what its failure means.
async fn timed<T>(
    name: &str,
    limit: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| meaning(name, error)),
        Err(_) => Err(late(name, limit)),
    }
}

fn late(name: &str, limit: Duration) -> Error {
    Error::Unreachable(name.to_owned(), Some(format!("no answer within {limit:?}").into()))
}

fn meaning(name: &str, error: RedisError) -> Error {
    let refused = match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported | ErrorKind::Extension => true,
        ErrorKind::Server(kind) => !matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
        ),
        _ => false,
    };
    match refused {
        true => Error::Refused(name.to_owned(), error.to_string()),
        false => Error::Unreachable(name.to_owned(), Some(Box::new(error))),
    }
}

/// An error and its sources in one line.
fn chain(error: &Error) -> String {
    let mut out = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        out = format!("{out}: {next}");
        source = next.source();
    }
    out
}

fn name_of(address: &ConnectionAddr, db: i64) -> String {
    let db = if db == 0 { String::new() } else { format!("/{db}") };
    match address {
        ConnectionAddr::Tcp(host, port) if host.contains(':') => format!("redis://[{host}]:{port}{db}"),
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}{db}"),
        ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
            format!("rediss://[{host}]:{port}{db}")
        }
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}{db}"),
        ConnectionAddr::Unix(path) => format!("redis+unix://{}{db}", path.display()),
        _ => format!("redis:{db}"),
    }
}
