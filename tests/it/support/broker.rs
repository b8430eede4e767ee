//! A real Apache Kafka broker (KRaft, one node, broker and controller in one process) on free loopback ports.

use super::wire::KafkaClient;
use super::{Process, free_address, root, run, tool, wait_for};
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    InitProducerIdRequest, InitProducerIdResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

/// The user of the SASL listener, for PLAIN and for SCRAM-SHA-256; an OAUTHBEARER token may name anybody.
pub const SASL_USER: &str = "alice";
/// Its password.
pub const SASL_PASSWORD: &str = "alice-secret";

/// What a coordinator that works says of a member that it never heard of.
const UNKNOWN_MEMBER_ID: i16 = 25;

/// How long a new broker may take until its coordinators work.
const WARM: Duration = Duration::from_secs(60);

/// Starts as fast as it can and stays small; a load test passes flags of its own.
const JVM: [&str; 3] = ["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// One node, quick groups, and every kind of group and transaction; records of up to 100 MB.
const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,BEHIND:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,OAUTHBEARER
listener.name.sasl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
  required unsecuredLoginStringClaim_sub=\"broker\";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
num.partitions=3
num.network.threads=2
num.io.threads=4
message.max.bytes=100000000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
group.share.min.heartbeat.interval.ms=500
group.share.heartbeat.interval.ms=1000
";

/// A running broker; killed when dropped.
pub struct Broker {
    process: Process,
    options: BrokerOptions,
    folder: TempDir,
    address: SocketAddr,
    sasl: SocketAddr,
    behind: SocketAddr,
}

/// What a test may want otherwise.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Whether a Metadata request creates the topics that it names (Kafka's own default; off here, so that a
    /// misspelt topic is an error).
    pub auto_create: bool,
    /// What clients of [`Broker::behind`] are told: an address that counts who gets past a gateway.
    pub trap: Option<SocketAddr>,
    /// Further lines of server.properties; the last of two wins.
    pub settings: Vec<(String, String)>,
    /// The flags of the Java machine.
    pub jvm: Vec<String>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self { auto_create: false, trap: None, settings: Vec::new(), jvm: JVM.map(str::to_owned).to_vec() }
    }
}

/// Starts a broker with the defaults and waits until it serves (some three seconds).
#[track_caller]
pub fn broker() -> Broker {
    Broker::with(BrokerOptions::default())
}

impl Broker {
    /// Formats a storage folder, starts a broker on it and waits until it serves and its coordinators do: what clients
    /// do about a cluster that is still making its internal topics is no concern of these tests.
    #[track_caller]
    pub fn with(options: BrokerOptions) -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        let [address, sasl, behind, controller] = [(); 4].map(|()| free_address());
        let told = options.trap.unwrap_or(behind);
        let mut text = SETTINGS.to_owned();
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let data = folder.path().join("data");
        let lines = [
            (
                "listeners",
                format!("PLAINTEXT://{address},SASL://{sasl},BEHIND://{behind},CONTROLLER://{controller}"),
            ),
            ("advertised.listeners", format!("PLAINTEXT://{address},SASL://{sasl},BEHIND://{told}")),
            ("controller.quorum.bootstrap.servers", controller.to_string()),
            ("log.dirs", data.display().to_string()),
            ("auto.create.topics.enable", options.auto_create.to_string()),
            (
                "listener.name.sasl.plain.sasl.jaas.config",
                format!("{plain} required user_{SASL_USER}=\"{SASL_PASSWORD}\";"),
            ),
        ];
        for (name, value) in lines {
            writeln!(text, "{name}={value}").expect("write to a string");
        }
        for (name, value) in &options.settings {
            writeln!(text, "{name}={value}").expect("write to a string");
        }
        std::fs::write(folder.path().join("server.properties"), text).expect("write server.properties");
        format_storage(&folder);
        let process = start(&folder, &options);
        warm(address);
        Self { process, options, folder, address, sasl, behind }
    }

    /// Where it serves without authentication.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where gateways come: it serves as at [`Broker::address`], but names the trap to those who ask.
    pub fn behind(&self) -> SocketAddr {
        self.behind
    }

    /// Where it asks for [`SASL_USER`], over PLAIN or SCRAM-SHA-256, or for an unsecured OAUTHBEARER token, without TLS.
    pub fn sasl(&self) -> SocketAddr {
        self.sasl
    }

    /// Stops it cleanly (SIGTERM; it tells its controller first).
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop()
    }

    /// Kills it: connections are reset, nothing is said.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same ports and the same data.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = start(&self.folder, &self.options);
    }

    /// The process, for its output and for signals (a stopped broker accepts and answers nothing).
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// What every Kafka program of ours runs on; fails the test where `scripts/setup` has not been.
#[track_caller]
pub fn kafka_libs() -> PathBuf {
    let libs = root().join(".clients/kafka/libs");
    assert!(libs.is_dir(), "{} is not there: run scripts/setup", libs.display());
    libs
}

/// Writes the storage folder's cluster id, feature levels and the SCRAM user.
#[track_caller]
fn format_storage(folder: &TempDir) {
    // 16 random bytes in URL-safe base64, which is 22 characters; the last one holds two bits only.
    let id: String = std::iter::repeat_with(fastrand::alphanumeric).take(21).chain(['A']).collect();
    let mut command = java(&JVM);
    command.arg("kafka.tools.StorageTool").args(["format", "--standalone", "--cluster-id", &id, "--config"]);
    command.arg(folder.path().join("server.properties"));
    command.arg("--add-scram");
    command.arg(format!("SCRAM-SHA-256=[name={SASL_USER},password={SASL_PASSWORD}]"));
    run("kafka-storage", &mut command).ok();
}

/// Has `__consumer_offsets` and `__transaction_state` made, and waits until the coordinator of each of their partitions
/// has loaded it.
#[track_caller]
fn warm(broker: SocketAddr) {
    let mut client = KafkaClient::connect(broker, "warm");
    // A key's partition is its Java hash code by the count of partitions: eight keys in a row meet all four twice.
    for key in (0..8).map(|n| StrBytes::from_string(format!("warm-{n}"))) {
        wait_for("the group coordinator", WARM, || {
            let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![key.clone()]);
            let found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request);
            let request = HeartbeatRequest::default().with_group_id(key.clone().into());
            let beat: HeartbeatResponse = client.ask(ApiKey::Heartbeat, 4, &request);
            found.coordinators.iter().all(|one| one.error_code == 0) && beat.error_code == UNKNOWN_MEMBER_ID
        });
        wait_for("the transaction coordinator", WARM, || {
            let keys = vec![key.clone()];
            let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(keys);
            let found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request);
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(key.clone().into()))
                .with_transaction_timeout_ms(10_000);
            let got: InitProducerIdResponse = client.ask(ApiKey::InitProducerId, 4, &request);
            found.coordinators.iter().all(|one| one.error_code == 0) && got.error_code == 0
        });
    }
}

#[track_caller]
fn start(folder: &TempDir, options: &BrokerOptions) -> Process {
    let flags: Vec<&str> = options.jvm.iter().map(String::as_str).collect();
    let mut command = java(&flags);
    command.arg("kafka.Kafka").arg(folder.path().join("server.properties"));
    let mut process = Process::spawn("kafka", &mut command);
    process.wait_for_text("Kafka Server started");
    process
}

/// The Java machine with Kafka's jars; logs warnings, and the line that says that the server has started.
fn java(flags: &[&str]) -> Command {
    let mut command = tool("java");
    command.args(flags).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg("-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info");
    // The classes hold what runs in the broker: `TelemetryReceiver`.
    let path = [kafka_libs().join("*"), root().join(".clients/kafka/classes")];
    command.arg("-cp").arg(path.map(|part| part.display().to_string()).join(":"));
    command
}
