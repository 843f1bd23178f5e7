//! Who may use the client API (PROTOCOL §8): programs that know the token, and no web page.
//!
//! Entry type is [`Guard`], a layer around every service of a listener, health and reflection
//! included. On the unix socket the socket's permissions decide who may; on TCP the token does. A
//! browser names the page that asks in `origin`, so whatever carries it is refused everywhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use comm_proto::rejection::Retry;
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::{AUTHORIZATION, ORIGIN};
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tower::{Layer, Service};

use super::status::{CODE_KEY, RETRY_KEY, retry_word, with_words};
use crate::{metrics, refusal};

/// What stands before the token.
const SCHEME: &[u8] = b"Bearer ";

/// Decides on each call by its headers.
#[derive(Clone, Debug)]
pub(super) struct Guard(Arc<Option<TokenHash>>);

/// Hashed, so that comparing takes as long for a near miss as for any other.
#[derive(Debug, PartialEq, Eq)]
struct TokenHash([u8; 32]);

impl Guard {
    /// For a listener that only the owner of the node can reach.
    pub(super) fn without_token() -> Self {
        Self(Arc::new(None))
    }

    /// For a listener that everybody on the machine can reach.
    pub(super) fn with_token(token: &str) -> Self {
        Self(Arc::new(Some(TokenHash::of(token.as_bytes()))))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        if headers.contains_key(ORIGIN) {
            let status = Status::permission_denied("web pages may not use this API");
            return Err(counted(status, "foreign-origin"));
        }
        let Some(expected) = &*self.0 else { return Ok(()) };
        let token = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(SCHEME.len())?;
            scheme.eq_ignore_ascii_case(SCHEME).then(|| TokenHash::of(token))
        });
        if token.as_ref() != Some(expected) {
            let status = Status::unauthenticated("the token of this node is missing or wrong");
            return Err(counted(status, "unauthenticated"));
        }
        Ok(())
    }
}

impl TokenHash {
    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a guard.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Err(status) = self.guard.check(request.headers()) {
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let response = self.inner.call(request);
        Box::pin(async move { response.await.map(add_words) })
    }
}

fn counted(status: Status, word: &'static str) -> Status {
    metrics::refused(word);
    with_words(status, word, Retry::Never)
}

/// Counts the errors that gRPC makes by itself, and gives them the words that every error of this
/// API has.
fn add_words(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if headers.contains_key(CODE_KEY) {
        return response;
    }
    if let Some(status) = Status::from_header_map(headers)
        && status.code() != tonic::Code::Ok
    {
        refusal::count(&status);
        let (word, retry) = refusal::words(status.code());
        let headers = response.headers_mut();
        headers.insert(CODE_KEY, HeaderValue::from_static(word));
        headers.insert(RETRY_KEY, HeaderValue::from_static(retry_word(retry)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(name.parse().unwrap(), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn only_the_whole_token_opens() {
        let guard = Guard::with_token("token");
        assert!(guard.check(&headers("authorization", "Bearer token")).is_ok());
        assert!(guard.check(&headers("authorization", "bearer token")).is_ok());
        for wrong in ["Bearer toke", "Bearer tokens", "Bearer ", "Bearer", "token", "Basic token"] {
            assert!(guard.check(&headers("authorization", wrong)).is_err(), "{wrong} opens");
        }
        assert!(guard.check(&HeaderMap::new()).is_err());
    }

    #[test]
    fn an_origin_is_refused_with_and_without_token() {
        let mut page = headers("authorization", "Bearer token");
        page.insert("origin", HeaderValue::from_static("http://localhost"));
        assert!(Guard::with_token("token").check(&page).is_err());
        assert!(Guard::without_token().check(&page).is_err());
        assert!(Guard::without_token().check(&HeaderMap::new()).is_ok());
    }
}
