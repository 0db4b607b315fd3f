//! The proxy-wasm ABI 0.2.1, called directly.
//!
//! The SDK's wrappers panic on any status they do not expect and on bytes that are not UTF-8, and
//! its dispatcher exports callbacks whose only effect here would be their cost (docs/design.md, 1).
//! Nothing outside this file can call the host: the functions below are private to it.
#![allow(unsafe_code)]

use std::ptr;

use super::{Buffer, FieldMap, Host, HostError, HostResult, MetricKind};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, len: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_len: usize,
        data: *mut *mut u8,
        len: *mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_len: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_len: usize,
        data: *mut *mut u8,
        len: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        len: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        len: usize,
        data: *const u8,
        data_len: usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_len: usize,
        body: *const u8,
        body_len: usize,
        fields: *const u8,
        fields_len: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_len: usize,
        fields: *const u8,
        fields_len: usize,
        body: *const u8,
        body_len: usize,
        trailers: *const u8,
        trailers_len: usize,
        timeout_ms: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_register_shared_queue(name: *const u8, len: usize, queue: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(queue: u32, data: *const u8, len: usize) -> u32;
    fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, len: *mut usize) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, len: usize, metric: *mut u32) -> u32;
    fn proxy_increment_metric(metric: u32, by: i64) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_get_metric(metric: u32, value: *mut u64) -> u32;
    fn proxy_get_shared_data(
        name: *const u8,
        name_len: usize,
        data: *mut *mut u8,
        len: *mut usize,
        token: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        name: *const u8,
        name_len: usize,
        data: *const u8,
        len: usize,
        token: u32,
    ) -> u32;
}

/// Stock Envoy, or any other proxy that speaks the ABI.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envoy;

fn check(status: u32) -> HostResult<()> {
    Err(match status {
        0 => return Ok(()),
        1 => HostError::NotFound,
        2 => HostError::BadArgument,
        7 => HostError::Empty,
        8 => HostError::CasMismatch,
        10 => HostError::Internal,
        _ => HostError::Unknown,
    })
}

/// Runs a call that hands bytes over, and takes them into our keeping.
fn take(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> HostResult<Vec<u8>> {
    let (mut data, mut len) = (ptr::null_mut(), 0);
    check(call(&raw mut data, &raw mut len))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host got these `len` bytes from `proxy_on_memory_allocate`, a box of that length,
    // filled them, and gave them to us alone.
    Ok(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(data, len)) }.into_vec())
}

/// What the host knows under a path, whose parts are separated by zeros.
fn property(path: &[u8]) -> HostResult<Vec<u8>> {
    // SAFETY: as of every call below.
    take(|data, len| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, len) })
}

/// Runs a call that hands a number over.
fn number(call: impl FnOnce(*mut u32) -> u32) -> HostResult<u32> {
    let mut number = 0;
    check(call(&raw mut number))?;
    Ok(number)
}

// SAFETY of every call below: each pointer is valid for the length passed with it during the call,
// and the host keeps none of them.
impl Host for Envoy {
    fn now_ms(&self) -> u64 {
        let mut time = 0_u64;
        // A clock that fails reads 1970: everything stored comes from the future and is stale.
        let _ = check(unsafe { proxy_get_current_time_nanoseconds(&raw mut time) });
        time / 1_000_000
    }

    fn memory_bytes(&self) -> u64 {
        core::arch::wasm32::memory_size(0) as u64 * 65_536
    }

    fn log(&self, level: log::Level, text: &str) {
        let level = match level {
            log::Level::Trace => 0,
            log::Level::Debug => 1,
            log::Level::Info => 2,
            log::Level::Warn => 3,
            log::Level::Error => 4,
        };
        // A log that cannot be written cannot be reported either.
        let _ = check(unsafe { proxy_log(level, text.as_ptr(), text.len()) });
    }

    fn set_tick(&self, period_ms: u32) -> HostResult<()> {
        check(unsafe { proxy_set_tick_period_milliseconds(period_ms) })
    }

    fn fields(&self, map: FieldMap) -> HostResult<Vec<u8>> {
        take(|data, len| unsafe { proxy_get_header_map_pairs(map as u32, data, len) })
    }

    fn field(&self, map: FieldMap, name: &[u8]) -> HostResult<Vec<u8>> {
        take(|data, len| unsafe {
            proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, len)
        })
    }

    fn add_field(&self, map: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()> {
        check(unsafe {
            proxy_add_header_map_value(
                map as u32,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    fn set_field(&self, map: FieldMap, name: &[u8], value: &[u8]) -> HostResult<()> {
        check(unsafe {
            proxy_replace_header_map_value(
                map as u32,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        })
    }

    fn remove_field(&self, map: FieldMap, name: &[u8]) -> HostResult<()> {
        check(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
    }

    fn has_ended(&self) -> bool {
        // Only a request that is complete has a duration.
        property(b"request\0duration").is_ok()
    }

    fn source(&self) -> HostResult<Vec<u8>> {
        property(b"source\0address")
    }

    fn cluster(&self) -> HostResult<Vec<u8>> {
        // Known by its route before there is a connection to it.
        property(b"xds\0cluster_name")
    }

    fn buffer(&self, buffer: Buffer, max: usize) -> HostResult<Vec<u8>> {
        take(|data, len| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max, data, len) })
    }

    fn clear_buffer(&self, buffer: Buffer, len: usize) -> HostResult<()> {
        check(unsafe { proxy_set_buffer_bytes(buffer as u32, 0, len, ptr::null(), 0) })
    }

    fn respond(&self, status: u16, fields: &[u8], body: &[u8]) -> HostResult<()> {
        check(unsafe {
            proxy_send_local_response(
                u32::from(status),
                ptr::null(),
                0,
                body.as_ptr(),
                body.len(),
                fields.as_ptr(),
                fields.len(),
                -1,
            )
        })
    }

    fn resume_request(&self) -> HostResult<()> {
        check(unsafe { proxy_continue_stream(0) })
    }

    fn close_request(&self) -> HostResult<()> {
        check(unsafe { proxy_close_stream(0) })
    }

    fn set_context(&self, context: u32) -> HostResult<()> {
        check(unsafe { proxy_set_effective_context(context) })
    }

    fn call(&self, cluster: &str, fields: &[u8], body: &[u8], timeout_ms: u32) -> HostResult<u32> {
        const NO_TRAILERS: [u8; 4] = [0; 4];
        number(|token| unsafe {
            proxy_http_call(
                cluster.as_ptr(),
                cluster.len(),
                fields.as_ptr(),
                fields.len(),
                body.as_ptr(),
                body.len(),
                NO_TRAILERS.as_ptr(),
                NO_TRAILERS.len(),
                timeout_ms,
                token,
            )
        })
    }

    fn open_queue(&self, name: &str) -> HostResult<u32> {
        number(|queue| unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), queue) })
    }

    fn enqueue(&self, queue: u32, message: &[u8]) -> HostResult<()> {
        check(unsafe { proxy_enqueue_shared_queue(queue, message.as_ptr(), message.len()) })
    }

    fn dequeue(&self, queue: u32) -> HostResult<Vec<u8>> {
        take(|data, len| unsafe { proxy_dequeue_shared_queue(queue, data, len) })
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> HostResult<u32> {
        number(|metric| unsafe {
            proxy_define_metric(kind as u32, name.as_ptr(), name.len(), metric)
        })
    }

    fn add_metric(&self, metric: u32, by: i64) -> HostResult<()> {
        check(unsafe { proxy_increment_metric(metric, by) })
    }

    fn metric(&self, metric: u32) -> HostResult<u64> {
        let mut value = 0_u64;
        check(unsafe { proxy_get_metric(metric, &raw mut value) })?;
        Ok(value)
    }

    fn shared(&self, name: &[u8]) -> HostResult<(Vec<u8>, u32)> {
        let mut token = 0;
        let value = take(|data, len| unsafe {
            proxy_get_shared_data(name.as_ptr(), name.len(), data, len, &raw mut token)
        })?;
        Ok((value, token))
    }

    fn set_shared(&self, name: &[u8], value: &[u8], token: u32) -> HostResult<()> {
        check(unsafe {
            proxy_set_shared_data(name.as_ptr(), name.len(), value.as_ptr(), value.len(), token)
        })
    }

    fn record_metric(&self, metric: u32, value: u64) -> HostResult<()> {
        check(unsafe { proxy_record_metric(metric, value) })
    }
}
