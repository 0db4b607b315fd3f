//! A proxy for tests: it remembers what it was told and says what it is made to say.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::{Buffer, FieldMap, Host, HostError, HostResult, MetricKind};
use crate::coherence::{Memory, SharedData};
use crate::http::fields::block;

/// The proxy's state; tests reach into it.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) now_ms: Cell<u64>,
    pub(crate) context: Cell<u32>,
    pub(crate) fields: RefCell<HashMap<FieldMap, Vec<u8>>>,
    pub(crate) buffers: RefCell<HashMap<Buffer, Vec<u8>>>,
    pub(crate) added: RefCell<Vec<(u32, String, String)>>,
    pub(crate) responses: RefCell<Vec<(u32, u16, Vec<u8>)>>,
    pub(crate) resumed: RefCell<Vec<u32>>,
    pub(crate) calls: RefCell<Vec<Vec<u8>>>,
    /// Targets of calls, by token.
    pub(crate) targets: RefCell<HashMap<u32, String>>,
    pub(crate) refuse_calls: Cell<bool>,
    /// The VM ends when it is to answer.
    pub(crate) crashes: Cell<bool>,
    pub(crate) dead: RefCell<HashSet<u32>>,
    /// Requests that are over, whose contexts the host still knows.
    pub(crate) ended: RefCell<HashSet<u32>>,
    pub(crate) queue: RefCell<VecDeque<Vec<u8>>>,
    pub(crate) metrics: RefCell<Vec<(String, i64)>>,
    pub(crate) log: RefCell<Vec<String>>,
    pub(crate) shared: Memory,
}

impl Fake {
    pub(crate) fn set_fields(&self, map: FieldMap, fields: &[(&str, &str)]) {
        self.fields.borrow_mut().insert(map, block(fields).into());
    }

    pub(crate) fn set_buffer(&self, buffer: Buffer, bytes: &[u8]) {
        self.buffers.borrow_mut().insert(buffer, bytes.to_vec());
    }

    pub(crate) fn metric(&self, name: &str) -> i64 {
        let metrics = self.metrics.borrow();
        metrics.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| *value)
    }
}

impl Host for Rc<Fake> {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn memory_bytes(&self) -> u64 {
        65_536
    }

    fn log(&self, _: log::Level, text: &str) {
        self.log.borrow_mut().push(text.into());
    }

    fn set_tick(&self, _: u32) -> HostResult<()> {
        Ok(())
    }

    fn fields(&self, map: FieldMap) -> HostResult<Vec<u8>> {
        self.fields.borrow().get(&map).cloned().ok_or(HostError::BadArgument)
    }

    fn field(&self, map: FieldMap, name: &[u8]) -> HostResult<Vec<u8>> {
        let block = self.fields(map)?;
        let value = crate::http::fields::Fields::new(&block).get(name);
        value.map(<[u8]>::to_vec).ok_or(HostError::NotFound)
    }

    fn add_field(&self, _: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.added.borrow_mut().push((self.context.get(), text(name), text(value)));
        Ok(())
    }

    fn set_field(&self, map: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()> {
        self.add_field(map, name, value)
    }

    fn remove_field(&self, map: FieldMap, name: &[u8]) -> HostResult<()> {
        self.add_field(map, name, b"(removed)")
    }

    fn close_request(&self) -> HostResult<()> {
        self.dead.borrow_mut().insert(self.context.get());
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.ended.borrow().contains(&self.context.get())
    }

    fn source(&self) -> HostResult<Vec<u8>> {
        Ok(b"127.0.0.1:1".to_vec())
    }

    fn cluster(&self) -> HostResult<Vec<u8>> {
        Ok(b"origin".to_vec())
    }

    fn buffer(&self, buffer: Buffer, max: usize) -> HostResult<Vec<u8>> {
        let buffers = self.buffers.borrow();
        let bytes = buffers.get(&buffer).ok_or(HostError::NotFound)?;
        Ok(bytes[..bytes.len().min(max)].to_vec())
    }

    fn clear_buffer(&self, buffer: Buffer, _: usize) -> HostResult<()> {
        self.buffers.borrow_mut().insert(buffer, Vec::new());
        Ok(())
    }

    fn respond(&self, status: u16, _: &[u8], body: &[u8]) -> HostResult<()> {
        assert!(!self.crashes.get(), "as asked");
        self.responses.borrow_mut().push((self.context.get(), status, body.to_vec()));
        Ok(())
    }

    fn resume_request(&self) -> HostResult<()> {
        self.resumed.borrow_mut().push(self.context.get());
        Ok(())
    }

    fn set_context(&self, context: u32) -> HostResult<()> {
        if self.dead.borrow().contains(&context) {
            return Err(HostError::BadArgument);
        }
        self.context.set(context);
        Ok(())
    }

    fn call(&self, _: &str, fields: &[u8], body: &[u8], _: u32) -> HostResult<u32> {
        if self.refuse_calls.get() {
            return Err(HostError::Internal);
        }
        let mut calls = self.calls.borrow_mut();
        calls.push(body.to_vec());
        let token = u32::try_from(calls.len()).unwrap();
        let target = crate::http::fields::Fields::new(fields).get(b":path").unwrap_or_default();
        let target = String::from_utf8_lossy(target).into_owned();
        self.targets.borrow_mut().insert(token, target);
        Ok(token)
    }

    fn open_queue(&self, name: &str) -> HostResult<u32> {
        // 7 for the first root, 8 for the second.
        let root = name.rsplit('/').next().and_then(|root| root.parse::<u32>().ok());
        Ok(6 + root.unwrap_or(1))
    }

    fn enqueue(&self, _: u32, message: &[u8]) -> HostResult<()> {
        self.queue.borrow_mut().push_back(message.to_vec());
        Ok(())
    }

    fn dequeue(&self, _: u32) -> HostResult<Vec<u8>> {
        self.queue.borrow_mut().pop_front().ok_or(HostError::Empty)
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> HostResult<u32> {
        let mut metrics = self.metrics.borrow_mut();
        let known = metrics.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            metrics.push((name.into(), 0));
            metrics.len() - 1
        });
        Ok(u32::try_from(place).unwrap())
    }

    fn add_metric(&self, metric: u32, by: i64) -> HostResult<()> {
        self.metrics.borrow_mut()[metric as usize].1 += by;
        Ok(())
    }

    fn metric(&self, metric: u32) -> HostResult<u64> {
        Ok(u64::try_from(self.metrics.borrow()[metric as usize].1).unwrap())
    }

    fn shared(&self, name: &[u8]) -> HostResult<(Vec<u8>, u32)> {
        self.shared.get(name).ok_or(HostError::NotFound)
    }

    fn set_shared(&self, name: &[u8], value: &[u8], token: u32) -> HostResult<()> {
        if self.shared.set(name, value, token) { Ok(()) } else { Err(HostError::CasMismatch) }
    }

    fn record_metric(&self, metric: u32, _: u64) -> HostResult<()> {
        self.add_metric(metric, 1)
    }
}
