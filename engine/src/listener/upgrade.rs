//! The HTTP request that asks for a WebSocket.

use std::{collections::HashMap, sync::Arc};

use agentos_protocol::codec::SUBPROTOCOL;
use tokio_tungstenite::tungstenite::{
    handshake::server::{Callback, ErrorResponse, Request, Response},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

use super::Gate;
use crate::{
    channel::{Channels, Side, Taken},
    session::Visitor,
};

/// What the client wants to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    V2,
    Iii,
    /// The JSON dialect's connection for telemetry alone.
    Telemetry,
    /// One end of a channel.
    Channel,
}

/// What was found out about the client during the upgrade.
pub(crate) struct Asked {
    pub(crate) dialect: Dialect,
    /// It showed the right token, or none is needed.
    pub(crate) trusted: bool,
    pub(crate) token_given: bool,
    /// What an authentication function is told, when the listener has one.
    pub(crate) visitor: Visitor,
    /// What whoever started the worker calls this instance of it: `?instance=NAME`.
    pub(crate) instance: Option<Arc<str>>,
    /// The end of a channel that was asked for, or that somebody else has it.
    pub(crate) channel: Option<Taken>,
}

pub(crate) struct Upgrade<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) channels: &'a Channels,
    pub(crate) asked: &'a mut Option<Asked>,
}

impl Callback for Upgrade<'_> {
    fn on_request(
        self,
        request: &Request,
        mut response: Response,
    ) -> Result<Response, ErrorResponse> {
        check(self.gate, request, "bus")?;
        let channel = channel(request, self.channels)?;
        let dialect = match channel {
            Some(_) => Dialect::Channel,
            None => dialect(request)?,
        };
        if dialect == Dialect::V2 {
            response.headers_mut().insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(SUBPROTOCOL),
            );
        }
        // Newer SDKs switch Nagle's algorithm off when they see this.
        response.headers_mut().insert(
            "x-iii-capabilities",
            HeaderValue::from_static("tcp-nodelay"),
        );
        let token = token(request);
        *self.asked = Some(Asked {
            dialect,
            // A channel's key is as good as a token.
            trusted: channel.is_some() || self.gate.admits(token.as_deref()),
            token_given: token.is_some(),
            visitor: visitor(request),
            instance: instance(request),
            channel,
        });
        Ok(response)
    }
}

/// Refuses foreign names and pages. `listener`: where in the settings they can be let in.
fn check(gate: &Gate, request: &Request, listener: &str) -> Result<(), ErrorResponse> {
    let headers = request.headers();
    if !gate.admits_host(text(headers, &header::HOST)) {
        let why = format!(
            "the Host header names somebody else; list it under `listen.{listener}.hosts` if it is meant"
        );
        return Err(refuse(StatusCode::FORBIDDEN, &why));
    }
    if !gate.admits_origin(text(headers, &header::ORIGIN)) {
        let why = format!(
            "pages of this Origin may not connect; list it under `listen.{listener}.origins` if it is meant"
        );
        return Err(refuse(StatusCode::FORBIDDEN, &why));
    }
    Ok(())
}

/// Somebody at the door of the streams.
#[derive(Debug)]
pub(crate) struct Knock {
    pub(crate) visitor: Visitor,
}

/// The door of the streams: path `/`, with the token if one is wanted.
pub(crate) struct Door<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) knock: &'a mut Option<Knock>,
}

impl Callback for Door<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        check(self.gate, request, "stream")?;
        if request.uri().path() != "/" {
            return Err(refuse(
                StatusCode::NOT_FOUND,
                "clients of streams connect to `/`",
            ));
        }
        let token = token(request);
        if !self.gate.admits(token.as_deref()) {
            let refusal = super::unauthenticated(token.is_some());
            return Err(refuse(StatusCode::UNAUTHORIZED, &refusal.message));
        }
        *self.knock = Some(Knock {
            visitor: visitor(request),
        });
        Ok(response)
    }
}

fn dialect(request: &Request) -> Result<Dialect, ErrorResponse> {
    let offered: Vec<&str> = text(request.headers(), &header::SEC_WEBSOCKET_PROTOCOL)
        .map(|offered| offered.split(',').map(str::trim).collect())
        .unwrap_or_default();
    if offered.contains(&SUBPROTOCOL) {
        return Ok(Dialect::V2);
    }
    if let Some(other) = offered
        .iter()
        .find(|offered| offered.starts_with("agentos."))
    {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            &format!("`{other}` is not spoken here, `{SUBPROTOCOL}` is"),
        ));
    }
    match request.uri().path().trim_end_matches('/') {
        "" => Ok(Dialect::Iii),
        "/otel" => Ok(Dialect::Telemetry),
        path => Err(refuse(
            StatusCode::NOT_FOUND,
            &format!("no `{path}` here; workers connect to `/`"),
        )),
    }
}

/// The end of a channel that `/ws/channels/ID?key=KEY&dir=read` asks for; `None` on other paths.
/// Ends may also be taken by another: that is said after the upgrade.
fn channel(request: &Request, channels: &Channels) -> Result<Option<Taken>, ErrorResponse> {
    let path = request.uri().path().trim_end_matches('/');
    let Some(id) = path.strip_prefix("/ws/channels/") else {
        return Ok(None);
    };
    let (mut key, mut side) = (String::new(), None);
    // SDKs put what the user's address carries before their own, so the last word counts.
    let query = request.uri().query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "key" => key = value.into_owned(),
            "dir" => side = Side::parse(&value),
            _ => {}
        }
    }
    let Some(side) = side else {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "`dir` has to be `read` or `write`",
        ));
    };
    match channels.take(id, &key, side) {
        Taken::Unknown => Err(refuse(StatusCode::NOT_FOUND, "Channel not found")),
        taken => Ok(Some(taken)),
    }
}

/// The token of `Authorization: Bearer TOKEN`, or of `?token=TOKEN`.
fn token(request: &Request) -> Option<String> {
    let bearer = text(request.headers(), &header::AUTHORIZATION)
        .and_then(|value| value.strip_prefix("Bearer "));
    let query = || {
        request
            .uri()
            .query()?
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))
    };
    bearer.or_else(query).map(|token| token.trim().to_owned())
}

/// Longest name of an instance, in bytes.
const INSTANCE_BYTES_MAX: usize = 128;

fn instance(request: &Request) -> Option<Arc<str>> {
    let query = request.uri().query()?;
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let (_, name) = fields.find(|(name, _)| name == "instance")?;
    (1..=INSTANCE_BYTES_MAX)
        .contains(&name.len())
        .then(|| name.into())
}

/// Header names are lower-case already; of repeated ones the last counts.
fn visitor(request: &Request) -> Visitor {
    let headers = request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let mut query_params: HashMap<String, Vec<String>> = HashMap::new();
    let query = request.uri().query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let values = query_params.entry(name.into_owned()).or_default();
        values.push(value.into_owned());
    }
    Visitor {
        headers: headers.collect(),
        query_params,
        ip_address: String::new(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("\u{0}"))
}

fn refuse(status: StatusCode, why: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(why.to_owned()));
    *response.status_mut() = status;
    response
}
