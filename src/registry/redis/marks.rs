//! The marks of zones in Redis: a hash with the fields `serial` and `digest`, changed by an optimistic transaction
//! (`WATCH`, `MULTI`, `EXEC`) on a connection of its own, for a watch belongs to its connection.

use super::{RedisStore, answer, late, timed};
use crate::registry::{Error, ZoneMark};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Value, cmd};

impl RedisStore {
    /// The mark of a zone; `None` if there is none.
    pub(super) async fn read_mark(&self, apex: &str) -> Result<Option<ZoneMark>, Error> {
        let key = self.keyspace.zone(apex);
        let found = self.write(fields_of(&key)).await?;
        self.mark_of(&key, &found)
    }

    /// Replaces the mark of a zone if it is `expected`; whether it was.
    pub(super) async fn swap_mark(
        &self,
        apex: &str,
        expected: Option<&ZoneMark>,
        new: &ZoneMark,
    ) -> Result<bool, Error> {
        match tokio::time::timeout(self.operation, self.swap_on(apex, expected, new)).await {
            Ok(done) => done,
            Err(_) => Err(late(&self.name, self.operation)),
        }
    }

    async fn swap_on(&self, apex: &str, expected: Option<&ZoneMark>, new: &ZoneMark) -> Result<bool, Error> {
        let key = self.keyspace.zone(apex);
        let mut held = self.marks.lock().await;
        // It is taken out: whatever ends this half-way also ends the connection, and the watch with it.
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.connect(AsyncConnectionConfig::new()).await?,
        };
        self.step(&mut connection, cmd("WATCH").arg(&key)).await?;
        let found = self.step(&mut connection, &fields_of(&key)).await?;
        let is_expected = self.mark_of(&key, &found)?.as_ref() == expected;
        let done = if is_expected {
            self.step(&mut connection, &cmd("MULTI")).await?;
            let mut set = cmd("HSET");
            set.arg(&key).arg("serial").arg(new.serial).arg("digest").arg(&new.digest);
            self.step(&mut connection, &set).await?;
            // Nothing comes back if the key changed since it was watched.
            !matches!(self.step(&mut connection, &cmd("EXEC")).await?, Value::Nil)
        } else {
            self.step(&mut connection, &cmd("UNWATCH")).await?;
            false
        };
        *held = Some(connection);
        Ok(done)
    }

    async fn step(&self, connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, Error> {
        timed(&self.name, self.operation, answer(connection, command)).await
    }

    fn mark_of(&self, key: &str, found: &Value) -> Result<Option<ZoneMark>, Error> {
        let text = |value: &Value| match value {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        };
        let Value::Array(fields) = found else { return Ok(None) };
        let [serial, digest] = fields.as_slice() else { return Ok(None) };
        if (serial, digest) == (&Value::Nil, &Value::Nil) {
            return Ok(None);
        }
        match text(serial).and_then(|serial| serial.parse().ok()) {
            Some(serial) => Ok(Some(ZoneMark { serial, digest: text(digest).unwrap_or_default() })),
            None => Err(Error::Refused(
                self.name.clone(),
                format!(
                    "the field serial of {key} is no number from 0 to 4294967295: HSET it to more than the \
                     serial that secondaries have"
                ),
            )),
        }
    }
}

fn fields_of(key: &str) -> Cmd {
    let mut get = cmd("HMGET");
    get.arg(key).arg("serial").arg("digest");
    get
}
