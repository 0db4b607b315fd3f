//! A proxy that does what an input says, as far as a real one would.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use tiercel::host::{Buffer, FieldMap, Host, HostError, HostResult, MetricKind};
use tiercel::http::fields::Fields;

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Its head is being looked at.
    Begun,
    /// It waits for the module.
    Waits,
    /// It went on to the origin.
    Gone,
    /// The module answered it.
    Answered,
    /// The origin's answer has begun.
    Answering,
}

/// A local reply: context, status, fields, body.
pub type Reply = (u32, u16, Vec<u8>, Vec<u8>);

/// The proxy.
#[derive(Debug, Default)]
pub struct Proxy {
    /// In ms since the epoch.
    pub now_ms: Cell<u64>,
    /// The context at hand.
    pub context: Cell<u32>,
    /// Header maps of the callback at hand.
    pub fields: RefCell<HashMap<FieldMap, Vec<u8>>>,
    /// Buffers of the callback at hand.
    pub buffers: RefCell<HashMap<Buffer, Vec<u8>>>,
    /// Streams there are.
    pub streams: RefCell<BTreeMap<u32, At>>,
    /// Replies that are not sent yet.
    pub replies: RefCell<Vec<Reply>>,
    /// Callouts under way, by token.
    pub calls: RefCell<Vec<u32>>,
    /// Whether callouts fail at once.
    pub refuses: Cell<bool>,
    /// Messages in the queue.
    pub queue: RefCell<VecDeque<Vec<u8>>>,
    /// What workers share, with tokens.
    pub shared: RefCell<BTreeMap<Vec<u8>, (Vec<u8>, u32)>>,
    tokens: Cell<u32>,
    metrics: RefCell<Vec<(String, u64)>>,
}

/// The root context.
pub const ROOT: u32 = 1;
/// The queue of the only root.
pub const QUEUE: u32 = 7;

impl Proxy {
    fn change(&self, from: &[At], to: At) -> HostResult<()> {
        let mut streams = self.streams.borrow_mut();
        let at = streams.get_mut(&self.context.get()).ok_or(HostError::BadArgument)?;
        assert!(from.contains(at), "{at:?} becomes {to:?}");
        *at = to;
        Ok(())
    }
}

/// Of this crate, for the trait is not.
#[derive(Clone, Debug, Default)]
pub struct Handle(pub Rc<Proxy>);

impl Host for Handle {
    fn now_ms(&self) -> u64 {
        self.0.now_ms.get()
    }

    fn memory_bytes(&self) -> u64 {
        65_536
    }

    fn log(&self, _: log::Level, text: &str) {
        assert!(text.len() < 1 << 20);
    }

    fn set_tick(&self, _: u32) -> HostResult<()> {
        Ok(())
    }

    fn fields(&self, map: FieldMap) -> HostResult<Vec<u8>> {
        self.0.fields.borrow().get(&map).cloned().ok_or(HostError::BadArgument)
    }

    fn field(&self, map: FieldMap, name: &[u8]) -> HostResult<Vec<u8>> {
        let block = self.fields(map)?;
        Fields::new(&block).get(name).map(<[u8]>::to_vec).ok_or(HostError::NotFound)
    }

    fn add_field(&self, _: FieldMap, _: &[u8], value: &[u8]) -> HostResult<()> {
        assert!(!value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')), "{value:?}");
        Ok(())
    }

    fn set_field(&self, map: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()> {
        self.add_field(map, name, value)
    }

    fn remove_field(&self, _: FieldMap, _: &[u8]) -> HostResult<()> {
        Ok(())
    }

    fn source(&self) -> HostResult<Vec<u8>> {
        Ok(b"127.0.0.1:1".to_vec())
    }

    fn cluster(&self) -> HostResult<Vec<u8>> {
        Ok(b"origin".to_vec())
    }

    fn buffer(&self, buffer: Buffer, max: usize) -> HostResult<Vec<u8>> {
        let buffers = self.0.buffers.borrow();
        let bytes = buffers.get(&buffer).ok_or(HostError::NotFound)?;
        Ok(bytes[..bytes.len().min(max)].to_vec())
    }

    fn clear_buffer(&self, buffer: Buffer, _: usize) -> HostResult<()> {
        self.0.buffers.borrow_mut().insert(buffer, Vec::new());
        Ok(())
    }

    fn respond(&self, status: u16, fields: &[u8], body: &[u8]) -> HostResult<()> {
        assert!((200..=999).contains(&status) && Fields::new(fields).is_sound(), "{status}");
        self.0.change(&[At::Begun, At::Waits, At::Answering], At::Answered)?;
        let reply = (self.0.context.get(), status, fields.to_vec(), body.to_vec());
        self.0.replies.borrow_mut().push(reply);
        Ok(())
    }

    fn resume_request(&self) -> HostResult<()> {
        self.0.change(&[At::Waits], At::Gone)
    }

    fn close_request(&self) -> HostResult<()> {
        Ok(())
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn set_context(&self, context: u32) -> HostResult<()> {
        if context != ROOT && !self.0.streams.borrow().contains_key(&context) {
            return Err(HostError::BadArgument);
        }
        self.0.context.set(context);
        Ok(())
    }

    fn call(&self, _: &str, fields: &[u8], _: &[u8], _: u32) -> HostResult<u32> {
        assert!(Fields::new(fields).is_sound());
        if self.0.refuses.get() {
            return Err(HostError::Internal);
        }
        let token = self.0.tokens.get() + 1;
        self.0.tokens.set(token);
        self.0.calls.borrow_mut().push(token);
        Ok(token)
    }

    fn open_queue(&self, _: &str) -> HostResult<u32> {
        Ok(QUEUE)
    }

    fn enqueue(&self, _: u32, message: &[u8]) -> HostResult<()> {
        self.0.queue.borrow_mut().push_back(message.to_vec());
        Ok(())
    }

    fn dequeue(&self, _: u32) -> HostResult<Vec<u8>> {
        self.0.queue.borrow_mut().pop_front().ok_or(HostError::Empty)
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> HostResult<u32> {
        let mut metrics = self.0.metrics.borrow_mut();
        let known = metrics.iter().position(|(of, _)| of == name);
        let place = known.unwrap_or_else(|| {
            metrics.push((name.into(), 0));
            metrics.len() - 1
        });
        u32::try_from(place).map_err(|_| HostError::Internal)
    }

    fn add_metric(&self, metric: u32, by: i64) -> HostResult<()> {
        let mut metrics = self.0.metrics.borrow_mut();
        let (_, value) = metrics.get_mut(metric as usize).ok_or(HostError::NotFound)?;
        *value = value.wrapping_add_signed(by);
        Ok(())
    }

    fn metric(&self, metric: u32) -> HostResult<u64> {
        let metrics = self.0.metrics.borrow();
        metrics.get(metric as usize).map(|(_, value)| *value).ok_or(HostError::NotFound)
    }

    fn shared(&self, name: &[u8]) -> HostResult<(Vec<u8>, u32)> {
        self.0.shared.borrow().get(name).cloned().ok_or(HostError::NotFound)
    }

    fn set_shared(&self, name: &[u8], value: &[u8], token: u32) -> HostResult<()> {
        let mut shared = self.0.shared.borrow_mut();
        let known = shared.get(name).map_or(0, |(_, token)| *token);
        if token != 0 && known != token {
            return Err(HostError::CasMismatch);
        }
        shared.insert(name.to_vec(), (value.to_vec(), known + 1));
        Ok(())
    }

    fn record_metric(&self, _: u32, _: u64) -> HostResult<()> {
        Ok(())
    }
}
