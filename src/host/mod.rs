//! The proxy that runs the module, behind one fallible trait.

#[cfg(target_os = "wasi")]
mod envoy;
#[cfg(target_os = "wasi")]
mod exports;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(target_os = "wasi")]
mod last_words;

#[cfg(target_os = "wasi")]
pub use envoy::Envoy;

use crate::closed_enum::closed_enum;

/// The header maps the host keeps for us. The numbers are the proxy-wasm ABI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FieldMap {
    /// The request's head.
    Request = 0,
    /// The request's trailers.
    RequestTrailers = 1,
    /// The response's head.
    Response = 2,
    /// The head of a callout's response.
    Call = 6,
}

/// The buffers the host keeps for us. The numbers are the proxy-wasm ABI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Buffer {
    /// A chunk of the request's body.
    RequestBody = 0,
    /// A chunk of the response's body.
    ResponseBody = 1,
    /// The body of a callout's response.
    CallBody = 4,
    /// The plugin configuration.
    PluginConfiguration = 7,
}

/// Kinds of metrics. The numbers are the proxy-wasm ABI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum MetricKind {
    /// Only grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// A distribution.
    Histogram = 2,
}

/// Whether the host goes on with a stream. The numbers are the proxy-wasm ABI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// Go on.
    Continue = 0,
    /// Wait for us.
    Pause = 1,
}

closed_enum! {
    /// Why a host call failed.
    pub enum HostError {
        /// Nothing there.
        NotFound => "not_found",
        /// Not possible now, or a wrong argument.
        BadArgument => "bad_argument",
        /// Somebody else wrote meanwhile.
        CasMismatch => "cas_mismatch",
        /// An empty queue.
        Empty => "empty",
        /// The host failed.
        Internal => "internal",
        /// A status that the ABI does not name.
        Unknown => "unknown",
    }
}

/// What a host call gives.
pub type HostResult<T> = Result<T, HostError>;

/// The proxy. Every call may fail, for the reasons in [`HostError`]; none panics.
#[allow(clippy::missing_errors_doc)] // said once, above
pub trait Host {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64;
    /// Bytes of the VM's memory.
    fn memory_bytes(&self) -> u64;
    /// Writes a line to the proxy's log.
    fn log(&self, level: log::Level, text: &str);
    /// Calls the filter back every `period_ms`.
    fn set_tick(&self, period_ms: u32) -> HostResult<()>;
    /// A header map of the stream at hand, as one block (`http::fields`).
    fn fields(&self, map: FieldMap) -> HostResult<Vec<u8>>;
    /// The first value of a field of the stream at hand.
    fn field(&self, map: FieldMap, name: &[u8]) -> HostResult<Vec<u8>>;
    /// Adds a field to the stream at hand.
    fn add_field(&self, map: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()>;
    /// Sets a field of the stream at hand, in place of what it held.
    fn set_field(&self, map: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()>;
    /// Takes a field out of the stream at hand.
    fn remove_field(&self, map: FieldMap, name: &[u8]) -> HostResult<()>;
    /// The address of the request's client, with its port.
    fn source(&self) -> HostResult<Vec<u8>>;
    /// The cluster that the request at hand is routed to.
    fn cluster(&self) -> HostResult<Vec<u8>>;
    /// Up to `max` bytes of a buffer, from its start.
    fn buffer(&self, buffer: Buffer, max: usize) -> HostResult<Vec<u8>>;
    /// Takes the `len` bytes of a chunk out of a buffer.
    fn clear_buffer(&self, buffer: Buffer, len: usize) -> HostResult<()>;
    /// Answers the stream at hand; `fields` is a block.
    fn respond(&self, status: u16, fields: &[u8], body: &[u8]) -> HostResult<()>;
    /// Lets the paused request at hand go on.
    fn resume_request(&self) -> HostResult<()>;
    /// Resets the request at hand.
    fn close_request(&self) -> HostResult<()>;
    /// Whether the request at hand is over, though the host still knows its context.
    fn has_ended(&self) -> bool;
    /// Makes another context the one at hand.
    fn set_context(&self, context: u32) -> HostResult<()>;
    /// Starts an HTTP callout; `fields` is a block. Returns the token of its answer.
    fn call(&self, cluster: &str, fields: &[u8], body: &[u8], timeout_ms: u32) -> HostResult<u32>;
    /// Makes the context at hand the consumer of a queue.
    fn open_queue(&self, name: &str) -> HostResult<u32>;
    /// Puts a message into a queue.
    fn enqueue(&self, queue: u32, message: &[u8]) -> HostResult<()>;
    /// Takes a message out of a queue.
    fn dequeue(&self, queue: u32) -> HostResult<Vec<u8>>;
    /// The number of a metric, made if it is new.
    fn define_metric(&self, kind: MetricKind, name: &str) -> HostResult<u32>;
    /// Adds to a counter or a gauge.
    fn add_metric(&self, metric: u32, by: i64) -> HostResult<()>;
    /// What a counter or a gauge is at.
    fn metric(&self, metric: u32) -> HostResult<u64>;
    /// A value that all workers share, and the token to replace just that one.
    fn shared(&self, name: &[u8]) -> HostResult<(Vec<u8>, u32)>;
    /// Sets such a value; with a token other than 0 only if nobody has set it since.
    fn set_shared(&self, name: &[u8], value: &[u8], token: u32) -> HostResult<()>;
    /// Adds a value to a distribution.
    fn record_metric(&self, metric: u32, value: u64) -> HostResult<()>;
}
