//! Prints the JSON Schema of the plugin configuration (`make schema`).

fn main() {
    println!("{:#}", tiercel::config::json_schema());
}
