//! DNS over HTTPS (RFC 8484): HTTP/2, GET with `?dns=` and POST, one path. Each connection may have a bounded number of
//! requests under way; what is larger than any query is refused before it is read.

use super::super::tcp::Context;
use super::{answer, base64url, padding};
use crate::limits::dns as limits;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Waking, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The media type of queries and answers.
const MESSAGE: &str = "application/dns-message";

/// Serves one connection until it is idle for too long, its peer is done or the server stops.
pub(super) async fn serve<S>(
    stream: S,
    peer: IpAddr,
    context: Context,
    path: Arc<str>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (idle, patience) = (context.settings.idle, context.settings.message);
    let requests = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&requests);
    let service = service_fn(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (context, path) = (context.clone(), Arc::clone(&path));
        async move { Ok::<_, Infallible>(respond(request, peer, &context, &path).await) }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP_STREAMS)
        .max_header_list_size(limits::HTTP_HEAD)
        .max_send_buf_size(limits::TCP_MESSAGE)
        .initial_stream_window_size(limits::TCP_MESSAGE as u32)
        .initial_connection_window_size(limits::TCP_MESSAGE as u32)
        .max_pending_accept_reset_streams(limits::HTTP_RESETS)
        .keep_alive_interval(idle)
        .keep_alive_timeout(patience)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let mut seen = 0;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection of DNS over HTTPS ended early");
                }
                return;
            }
            () = stop.cancelled() => break,
            () = sleep(idle) => {
                // None since the last look: idle.
                let now = requests.load(Ordering::Relaxed);
                if now == seen {
                    break;
                }
                seen = now;
            }
        }
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(patience, serving).await; // who does not take its answers loses them
}

async fn respond(
    request: Request<Incoming>,
    peer: IpAddr,
    context: &Context,
    path: &str,
) -> Response<Message> {
    let packet = match packet(request, context, path).await {
        Ok(packet) => packet,
        Err(status) => return refuse(status),
    };
    let answer = answer(context, peer, &packet);
    if answer.is_empty() {
        return refuse(StatusCode::BAD_REQUEST); // what is answered with silence elsewhere
    }
    let age = padding::keep_for(&answer);
    let mut response = Response::new(Message(Some(answer.into())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    if let Ok(value) = HeaderValue::try_from(format!("max-age={age}")) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    response
}

/// The query in a request.
async fn packet(request: Request<Incoming>, context: &Context, path: &str) -> Result<Vec<u8>, StatusCode> {
    let (head, body) = request.into_parts();
    let body = match body.size_hint().lower() > limits::TCP_MESSAGE as u64 {
        true => Err(StatusCode::PAYLOAD_TOO_LARGE),
        // Read before anything is refused: an answer that comes before the end resets the stream, and some clients
        // (curl 7.88) then never see it.
        false => {
            timeout(context.settings.message, read(body)).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
        }
    };
    if head.uri.path() != path {
        return Err(StatusCode::NOT_FOUND);
    }
    match head.method {
        Method::GET => {
            let query = head.uri.query().unwrap_or_default();
            let text = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
            let text = text.ok_or(StatusCode::BAD_REQUEST)?;
            base64url::decode(text, limits::TCP_QUERY).ok_or(StatusCode::BAD_REQUEST)
        }
        Method::POST => {
            let kind = head.headers.get(header::CONTENT_TYPE);
            if kind.is_none_or(|kind| kind.as_bytes() != MESSAGE.as_bytes()) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            body
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// A body that is no longer than any query; what is a little longer is read to its end all the same, and dropped.
async fn read(mut body: Incoming) -> Result<Vec<u8>, StatusCode> {
    let (mut packet, mut length) = (Vec::new(), 0);
    while let Some(frame) = std::future::poll_fn(|waking| Pin::new(&mut body).poll_frame(waking)).await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > limits::TCP_MESSAGE {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if length <= limits::TCP_QUERY {
            packet.extend_from_slice(&data);
        }
    }
    match length > limits::TCP_QUERY {
        true => Err(StatusCode::PAYLOAD_TOO_LARGE),
        false => Ok(packet),
    }
}

fn refuse(status: StatusCode) -> Response<Message> {
    let mut response = Response::new(Message(None));
    *response.status_mut() = status;
    response
}

/// A body of one piece, or of none.
struct Message(Option<Bytes>);

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Waking<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
