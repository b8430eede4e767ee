//! How the replies are laid out that carry endpoints beside data: for each API and version the fields in their order,
//! as a [`Walker`](super::walker::Walker) steps over them. Tests compare them with kafka-protocol's encoder.
//!
//! | API | what is blotted out |
//! | --- | --- |
//! | Produce v10 to v13 | `CurrentLeader` (tag 0 of a partition), `NodeEndpoints` (tag 0 of the reply) |
//! | Fetch v11 to v18 | `PreferredReadReplica` (becomes -1); from v12 `CurrentLeader` (tag 1 of a partition), from v16 `NodeEndpoints` (tag 0 of the reply) |
//! | ShareFetch v1, ShareAcknowledge v1 | `CurrentLeader` (becomes -1, epoch -1), `NodeEndpoints` (an empty list) |

use super::versions::key;

/// One field, or the begin or end of an array's elements.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// So many bytes.
    Skip(u32),
    /// So many bytes of numbers that become -1.
    Blot(u32),
    /// STRING or NULLABLE_STRING.
    Text16,
    /// COMPACT_STRING or COMPACT_NULLABLE_STRING, COMPACT_BYTES or COMPACT_RECORDS.
    TextVar,
    /// BYTES or RECORDS.
    Bytes32,
    /// ARRAY: its elements follow, up to [`Op::End`].
    Loop32,
    /// COMPACT_ARRAY: its elements follow, up to [`Op::End`].
    LoopVar,
    /// The end of an array's element.
    End,
    /// Tagged fields, of which those in this set of bits are blotted out.
    Tags(u32),
    /// A COMPACT_ARRAY of endpoints that is the last field before the reply's tagged fields.
    Endpoints,
}

use Op::{Blot, Bytes32, End, Endpoints, Loop32, LoopVar, Skip, Tags, Text16, TextVar};

const UUID: Op = Skip(16);
/// Index, error, base offset, append time, log start offset.
const PRODUCED: Op = Skip(4 + 2 + 8 + 8 + 8);
/// Index, error, high watermark, last stable offset, log start offset.
const FETCHED: Op = Skip(4 + 2 + 8 + 8 + 8);
/// Throttle time, error, session.
const FETCH_HEAD: Op = Skip(4 + 2 + 4);

// Each flexible reply begins with the tagged fields of its header.

const PRODUCE_10: &[Op] = &[
    Tags(0),
    LoopVar,
    TextVar,
    LoopVar,
    PRODUCED,
    LoopVar,
    Skip(4),
    TextVar,
    Tags(0),
    End,
    TextVar,
    Tags(1),
    End,
    Tags(0),
    End,
    Skip(4),
    Tags(1),
];

const PRODUCE_13: &[Op] = &[
    Tags(0),
    LoopVar,
    UUID,
    LoopVar,
    PRODUCED,
    LoopVar,
    Skip(4),
    TextVar,
    Tags(0),
    End,
    TextVar,
    Tags(1),
    End,
    Tags(0),
    End,
    Skip(4),
    Tags(1),
];

const FETCH_11: &[Op] =
    &[FETCH_HEAD, Loop32, Text16, Loop32, FETCHED, Loop32, Skip(16), End, Blot(4), Bytes32, End, End];

const FETCH_12: &[Op] = &[
    Tags(0),
    FETCH_HEAD,
    LoopVar,
    TextVar,
    LoopVar,
    FETCHED,
    LoopVar,
    Skip(16),
    Tags(0),
    End,
    Blot(4),
    TextVar,
    Tags(2),
    End,
    Tags(0),
    End,
    Tags(1),
];

const FETCH_13: &[Op] = &[
    Tags(0),
    FETCH_HEAD,
    LoopVar,
    UUID,
    LoopVar,
    FETCHED,
    LoopVar,
    Skip(16),
    Tags(0),
    End,
    Blot(4),
    TextVar,
    Tags(2),
    End,
    Tags(0),
    End,
    Tags(1),
];

const SHARE_FETCH_1: &[Op] = &[
    Tags(0),
    Skip(4 + 2),
    TextVar,
    Skip(4),
    LoopVar,
    UUID,
    LoopVar,
    Skip(4 + 2),
    TextVar,
    Skip(2),
    TextVar,
    Blot(8),
    Tags(0),
    TextVar,
    LoopVar,
    Skip(8 + 8 + 2),
    Tags(0),
    End,
    Tags(0),
    End,
    Tags(0),
    End,
    Endpoints,
    Tags(0),
];

const SHARE_ACKNOWLEDGE_1: &[Op] = &[
    Tags(0),
    Skip(4 + 2),
    TextVar,
    LoopVar,
    UUID,
    LoopVar,
    Skip(4 + 2),
    TextVar,
    Blot(8),
    Tags(0),
    Tags(0),
    End,
    Tags(0),
    End,
    Endpoints,
    Tags(0),
];

/// How to walk over a reply, its header's tagged fields included; `None` where a reply carries no endpoint.
pub fn of(api_key: i16, version: i16) -> Option<&'static [Op]> {
    match (api_key, version) {
        (key::PRODUCE, 10..=12) => Some(PRODUCE_10),
        (key::PRODUCE, 13) => Some(PRODUCE_13),
        (key::FETCH, 11) => Some(FETCH_11),
        (key::FETCH, 12) => Some(FETCH_12),
        (key::FETCH, 13..=18) => Some(FETCH_13),
        (key::SHARE_FETCH, 1) => Some(SHARE_FETCH_1),
        (key::SHARE_ACKNOWLEDGE, 1) => Some(SHARE_ACKNOWLEDGE_1),
        _ => None,
    }
}
