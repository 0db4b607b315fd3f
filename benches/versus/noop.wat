;; The smallest proxy-wasm module that still is one: called for every request and response, it does
;; nothing. What Envoy itself takes to enter and leave a VM.
(module
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $free))
    ;; Envoy asks at configuration only; that fits into the first page.
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 0)) (i32.const 7)) (i32.const -8)))
    (local.get $start))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0)))
