//! The HTTP/1.1 server: connections, latency, faults.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::api::Asked;
use crate::body::Paced;
use crate::control::{self, Fault, State};
use crate::echo::Wanted;
use crate::envelope::Reply;

const MOST_BODY: usize = 16 << 20;

/// Accepts for ever.
pub(crate) async fn serve(listener: TcpListener, state: Rc<State>) -> io::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely; some will be free again soon.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let state = Rc::clone(&state);
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| handle(Rc::clone(&state), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A broken connection concerns its client only.
            connection.await.ok();
        });
    }
}

/// An error makes hyper close the connection without an answer.
async fn handle(state: Rc<State>, request: Request<Incoming>) -> io::Result<Response<Paced>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MOST_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return Ok(send(Reply::handled(StatusCode::PAYLOAD_TOO_LARGE, "Too large."))),
    };
    let path = head.uri.path();
    if path.starts_with(control::PREFIX) {
        return Ok(send(state.control(&head.method, path, &body)));
    }
    let query = head.uri.query();
    let target = head.uri.path_and_query().map_or(path, |target| target.as_str());
    state.stats.borrow_mut().count(&head.method, target);

    let echo = path.strip_prefix("/echo").is_some_and(|r| r.is_empty() || r.starts_with('/'));
    let fault = state.fault.get().filter(|_| echo || path.starts_with("/api/"));
    match fault {
        Some(Fault::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Hang) => match pending::<Infallible>().await {},
        Some(Fault::Error) => return Ok(failed(&state, StatusCode::INTERNAL_SERVER_ERROR).await),
        Some(Fault::Unavailable) => {
            return Ok(failed(&state, StatusCode::SERVICE_UNAVAILABLE).await);
        }
        Some(Fault::Truncate) | None => {}
    }
    let truncated = fault == Some(Fault::Truncate);

    if echo {
        let query = query.unwrap_or_default();
        let number = state.echoes.get() + 1;
        state.echoes.set(number);
        let wanted = match Wanted::read(query) {
            Ok(wanted) => wanted,
            Err(problem) => return Ok(send(Reply::bad_request(&problem))),
        };
        pause(state.latency.get() + wanted.delay).await;
        return Ok(wanted.answer(&head.method, path, query, &head.headers, number, truncated));
    }

    // A read sees the tables as they are when it arrives, a write changes them halfway: both
    // leave a gap in which a cache in front can go wrong.
    let latency = state.latency.get();
    let before = if matches!(head.method, Method::GET | Method::HEAD) {
        Duration::ZERO
    } else {
        latency / 2
    };
    pause(before).await;
    let asked = Asked { method: &head.method, path, query, headers: &head.headers, body: &body };
    let reply = state.api.borrow_mut().answer(state.revision.get(), &asked);
    pause(latency.saturating_sub(before)).await;
    if truncated {
        let (head, body) = reply.into_parts();
        return Ok(head.map(|()| Paced::truncated(body)));
    }
    Ok(send(reply))
}

async fn failed(state: &State, status: StatusCode) -> Response<Paced> {
    pause(state.latency.get()).await;
    send(Reply::handled(status, "The server is set to fail."))
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn send(reply: Reply) -> Response<Paced> {
    let (head, body): (Response<()>, Bytes) = reply.into_parts();
    head.map(|()| Paced::whole(body))
}
