//! The native half of the Python package `agentos`: the mailbox of the Rust SDK, converted.
//!
//! Python asks for events and hands back orders, many at a time. No Python runs on our threads and none of them
//! takes the GIL: they write a byte to a socket that Python's event loop watches.

use std::{
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use agentos_sdk::{Options, mailbox, protocol::Delivery};
use pyo3::{
    exceptions::{PyOSError, PyValueError},
    prelude::*,
    types::{PyBytes, PyList, PyTuple},
};

mod convert;
mod json;
mod orders;

use convert::{Registration, payload, refusal};

pyo3::create_exception!(
    _agentos,
    Refusal,
    pyo3::exceptions::PyException,
    "An error of the bus, as JSON text."
);

/// A session with an engine.
#[pyclass(frozen, module = "agentos._agentos")]
struct Mailbox {
    inner: mailbox::Mailbox,
    woken: UnixStream,
}

#[pymethods]
impl Mailbox {
    /// Opens a session in the background; its progress comes as events.
    #[new]
    #[pyo3(signature = (name, *, url=None, token=None, build=None, description=None, sdk_version=None))]
    fn new(
        name: String,
        url: Option<String>,
        token: Option<String>,
        build: Option<String>,
        description: Option<String>,
        sdk_version: Option<String>,
    ) -> PyResult<Self> {
        let mut options = Options::new(name).language("python");
        options = match url {
            Some(url) => options.url(url),
            None => options,
        };
        options = match token {
            Some(token) => options.token(token),
            None => options,
        };
        options = match build {
            Some(build) => options.build(build),
            None => options,
        };
        options = match description {
            Some(text) => options.description(text),
            None => options,
        };
        options = match sdk_version {
            Some(version) => options.sdk_version(version),
            None => options,
        };
        let (woken, waker) = pair()?;
        // A full socket already says what one more byte would.
        let wake = move || drop((&waker).write(&[1]));
        let inner = mailbox::Mailbox::connect(options, wake).map_err(refusal)?;
        Ok(Mailbox { inner, woken })
    }

    /// The file descriptor that becomes readable when there are events after there were none.
    fn fileno(&self) -> i32 {
        self.woken.as_raw_fd()
    }

    /// Takes up to `max` events, oldest first. When it took that many there may be more.
    fn drain<'py>(&self, py: Python<'py>, max: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        // Before the events: a byte that arrives after this is about later ones.
        let _ = (&self.woken).read(&mut [0; 64]);
        self.inner
            .drain(max)
            .into_iter()
            .map(|event| convert::event(py, event))
            .collect()
    }

    /// Offers functions and binds triggers, `{"functions": [...], "triggers": [...]}`.
    fn register(&self, registration: &str) -> PyResult<u64> {
        let Registration {
            functions,
            triggers,
        } = serde_json::from_str(registration)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.inner.register(functions, triggers).map_err(refusal)
    }

    fn unregister(&self, functions: Vec<String>, triggers: Vec<String>) -> PyResult<()> {
        let ids = |ids: Vec<String>| ids.into_iter().map(Into::into).collect();
        self.inner
            .unregister(ids(functions), ids(triggers))
            .map_err(refusal)
    }

    /// Makes calls, gives answers and more, see `orders`; gives the ids and faults of those that
    /// could not be read.
    fn submit(&self, orders: &Bound<'_, PyList>) -> Vec<(u64, String)> {
        orders::carry_out(&self.inner, orders)
    }

    /// Makes a call that nobody waits for.
    fn send(&self, call: &Bound<'_, PyTuple>) -> PyResult<()> {
        let outgoing = orders::outgoing(call, Delivery::Void)?;
        self.inner.send(outgoing).map_err(refusal)
    }

    /// Sends a chunk of call `id`; false when there is no credit for it now.
    fn chunk(&self, id: u64, data: &[u8], binary: bool) -> PyResult<bool> {
        self.inner.chunk(id, payload(data, binary)).map_err(refusal)
    }

    /// Takes no new calls, lets running ones finish, then ends the session.
    fn close(&self) {
        self.inner.close();
    }
}

impl Drop for Mailbox {
    /// Nobody will answer any more: the engine must not send calls here.
    fn drop(&mut self) {
        self.inner.close();
    }
}

fn pair() -> PyResult<(UnixStream, UnixStream)> {
    let (woken, waker) = UnixStream::pair().map_err(PyOSError::new_err)?;
    for end in [&woken, &waker] {
        end.set_nonblocking(true)?;
    }
    Ok((woken, waker))
}

/// The value's JSON text; `None` when Python has to find it.
#[pyfunction]
fn dumps<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    json::dumps(value).map(|text| PyBytes::new(value.py(), &text))
}

/// The private native module of the package `agentos`.
#[pymodule]
fn _agentos(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Mailbox>()?;
    module.add("Refusal", module.py().get_type::<Refusal>())?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(dumps, module)?)?;
    orders::add_kinds(module)?;
    convert::add_kinds(module)
}
