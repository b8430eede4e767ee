//! Small clients for what tests ask thousands of times: Kafka's discovery requests and HTTP GET, over real sockets.

use super::DEADLINE;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
    RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What one Kafka client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaView {
    /// Node id, host and port, in the order sent.
    pub brokers: Vec<(i32, String, i32)>,
    /// The controller's node id.
    pub controller: i32,
    /// The cluster's id.
    pub cluster_id: String,
    /// Every distinct leader of every partition, sorted.
    pub leaders: Vec<i32>,
    /// The coordinators of the consumer groups `group-0` to `group-49`.
    pub coordinators: Vec<i32>,
}

impl KafkaView {
    /// The host of a node id.
    #[track_caller]
    pub fn host(&self, node: i32) -> &str {
        let found = self.brokers.iter().find(|(id, _, _)| *id == node);
        &found.unwrap_or_else(|| panic!("node {node} is not in the list: {self:?}")).1
    }
}

/// A connection to a Kafka listener.
pub struct KafkaClient {
    stream: TcpStream,
    client_id: String,
    correlation: i32,
}

impl KafkaClient {
    /// Connects.
    #[track_caller]
    pub fn connect(server: SocketAddr, client_id: &str) -> Self {
        let stream = TcpStream::connect(server).expect("connect to the Kafka listener");
        stream.set_read_timeout(Some(DEADLINE)).expect("set a deadline");
        stream.set_nodelay(true).expect("send at once");
        Self { stream, client_id: client_id.to_owned(), correlation: 0 }
    }

    /// One request and its reply.
    #[track_caller]
    pub fn ask<Q: Encodable, A: Decodable>(&mut self, api: ApiKey, version: i16, request: &Q) -> A {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(self.client_id.clone())));
        let mut frame = bytes::BytesMut::new();
        header.encode(&mut frame, api.request_header_version(version)).expect("encode the header");
        request.encode(&mut frame, version).expect("encode the request");
        let length = i32::try_from(frame.len()).expect("a small frame").to_be_bytes();
        self.stream.write_all(&[&length[..], &frame].concat()).expect("send the request");
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("read the reply's length");
        let mut reply = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length is positive")];
        self.stream.read_exact(&mut reply).expect("read the reply");
        let mut reply = bytes::Bytes::from(reply);
        let header =
            ResponseHeader::decode(&mut reply, api.response_header_version(version)).expect("a header");
        assert_eq!(header.correlation_id, self.correlation);
        let body = A::decode(&mut reply, version).expect("a body");
        assert!(reply.is_empty(), "{} bytes after the reply", reply.len());
        body
    }

    /// Metadata of all topics.
    #[track_caller]
    pub fn metadata(&mut self) -> MetadataResponse {
        self.ask(ApiKey::Metadata, 12, &MetadataRequest::default().with_topics(None))
    }
}

/// Metadata and coordinators as one client sees them.
#[track_caller]
pub fn kafka_view(server: SocketAddr, client_id: &str) -> KafkaView {
    let mut client = KafkaClient::connect(server, client_id);
    let metadata = client.metadata();
    let keys = (0..50).map(|n| StrBytes::from_string(format!("group-{n}"))).collect();
    let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
    let found: FindCoordinatorResponse = client.ask(ApiKey::FindCoordinator, 4, &request);
    let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
    let mut leaders: Vec<i32> = partitions.map(|partition| partition.leader_id.0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    KafkaView {
        brokers: metadata.brokers.iter().map(|b| (b.node_id.0, b.host.to_string(), b.port)).collect(),
        controller: metadata.controller_id.0,
        cluster_id: metadata.cluster_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        leaders,
        coordinators: found.coordinators.iter().map(|c| c.node_id.0).collect(),
    }
}

/// GET: the status and the body. `Connection: close`, so that the end is the end.
#[track_caller]
pub fn http_get(server: SocketAddr, path: &str) -> (u16, String) {
    http(server, "GET", path, "")
}

/// One HTTP request with a JSON body: the status and the body of the reply.
#[track_caller]
pub fn http(server: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server).expect("connect to the admin interface");
    stream.set_read_timeout(Some(DEADLINE)).expect("set a deadline");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("send the request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read the reply");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "chunks are not read here");
    (status, body.to_owned())
}
