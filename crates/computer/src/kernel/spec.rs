//! `/spec.yaml` and `/spec.json`: this API as an OpenAPI document, once the browser can be driven.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Map, Value, json};

use super::{
    answer::{Fail, Reply},
    chromium,
};
use crate::Shared;

/// What a body or an answer is.
#[derive(Clone, Copy)]
enum Content {
    None,
    /// JSON with these fields: `name:type`, with `*` after the name if it has to be there.
    Json(&'static str),
    /// A list of such.
    List(&'static str),
    /// A form with these fields.
    Form(&'static str),
    /// Bytes of this type.
    Bytes(&'static str),
}

use Content::{Bytes, Form, Json, List, None as Nothing};

const INFO: &str = "name*:string path*:string size_bytes*:integer is_dir*:boolean mod_time*:time mode*:string";
const PROCESS: &str =
    "command*:string args:strings cwd:string env:object as_user:string as_root:boolean timeout_sec:integer";
const EVENTS: Content = Bytes("text/event-stream");
const OK: Content = Json("ok*:boolean");

/// Method, path, words of the query, body, status and answer.
type Operation = (&'static str, &'static str, &'static str, Content, u16, Content);

const OPERATIONS: [Operation; 44] = [
    ("post", "/computer/move_mouse", "", Json("x*:integer y*:integer hold_keys:strings"), 200, Nothing),
    (
        "post",
        "/computer/click_mouse",
        "",
        Json("x*:integer y*:integer button:string click_type:string num_clicks:integer hold_keys:strings"),
        200,
        Nothing,
    ),
    ("post", "/computer/screenshot", "", Json("region:object"), 200, Bytes("image/png")),
    ("post", "/computer/cursor", "", Json("hidden*:boolean"), 200, OK),
    ("post", "/computer/type", "", Json("text*:string delay:integer"), 200, Nothing),
    ("post", "/computer/press_key", "", Json("keys*:strings duration:integer hold_keys:strings"), 200, Nothing),
    (
        "post",
        "/computer/scroll",
        "",
        Json("x*:integer y*:integer delta_x:integer delta_y:integer hold_keys:strings"),
        200,
        Nothing,
    ),
    (
        "post",
        "/computer/drag_mouse",
        "",
        Json(
            "path*:points button:string delay:integer steps_per_segment:integer step_delay_ms:integer hold_keys:strings",
        ),
        200,
        Nothing,
    ),
    (
        "post",
        "/process/exec",
        "",
        Json(PROCESS),
        200,
        Json("exit_code*:integer stdout_b64*:string stderr_b64*:string duration_ms*:integer"),
    ),
    ("post", "/process/spawn", "", Json(PROCESS), 200, Json("process_id*:uuid pid*:integer started_at*:time")),
    (
        "get",
        "/process/{process_id}/status",
        "",
        Nothing,
        200,
        Json("state*:string exit_code:integer cpu_pct*:number mem_bytes:integer"),
    ),
    ("get", "/process/{process_id}/stdout/stream", "", Nothing, 200, EVENTS),
    ("post", "/process/{process_id}/stdin", "", Json("data_b64*:string"), 200, Json("written_bytes*:integer")),
    ("post", "/process/{process_id}/kill", "", Json("signal*:string"), 200, OK),
    ("post", "/process/{process_id}/resize", "", Json("rows*:integer cols*:integer"), 200, OK),
    ("get", "/process/{process_id}/attach", "", Nothing, 101, Nothing),
    ("get", "/fs/read_file", "path*", Nothing, 200, Bytes("application/octet-stream")),
    ("put", "/fs/write_file", "path* mode", Bytes("application/octet-stream"), 201, Nothing),
    ("post", "/fs/upload", "", Form("files*:items"), 201, Nothing),
    ("post", "/fs/upload_zip", "", Form("zip_file*:binary dest_path*:string"), 201, Nothing),
    ("get", "/fs/download_dir_zip", "path*", Nothing, 200, Bytes("application/zip")),
    ("post", "/fs/upload_zstd", "", Form("archive*:binary dest_path*:string strip_components:integer"), 201, Nothing),
    ("get", "/fs/download_dir_zstd", "path* compression_level", Nothing, 200, Bytes("application/zstd")),
    ("get", "/fs/list_files", "path*", Nothing, 200, List(INFO)),
    ("get", "/fs/file_info", "path*", Nothing, 200, Json(INFO)),
    ("put", "/fs/create_directory", "", Json("path*:string mode:string"), 201, Nothing),
    ("put", "/fs/delete_file", "", Json("path*:string"), 200, Nothing),
    ("put", "/fs/delete_directory", "", Json("path*:string"), 200, Nothing),
    ("put", "/fs/set_file_permissions", "", Json("path*:string mode*:string owner:string group:string"), 200, Nothing),
    ("put", "/fs/move", "", Json("src_path*:string dest_path*:string"), 200, Nothing),
    ("post", "/fs/watch", "", Json("path*:string recursive:boolean"), 201, Json("watch_id:string")),
    ("get", "/fs/watch/{watch_id}/events", "", Nothing, 200, EVENTS),
    ("delete", "/fs/watch/{watch_id}", "", Nothing, 204, Nothing),
    ("get", "/logs/stream", "source* follow path supervisor_process", Nothing, 200, EVENTS),
    (
        "patch",
        "/display",
        "",
        Json("width:integer height:integer refresh_rate:integer require_idle:boolean restart_chromium:boolean"),
        200,
        Json("width:integer height:integer refresh_rate:integer"),
    ),
    ("patch", "/chromium/flags", "", Json("flags*:strings"), 200, Nothing),
    ("post", "/chromium/upload-extensions-and-restart", "", Form("extensions*:items"), 201, Nothing),
    (
        "post",
        "/playwright/execute",
        "",
        Json("code*:string timeout_sec:integer"),
        200,
        Json("success*:boolean error:string stdout:string stderr:string result:any"),
    ),
    (
        "post",
        "/recording/start",
        "",
        Json("id:string framerate:integer maxFileSizeInMB:integer maxDurationInSeconds:integer"),
        201,
        Nothing,
    ),
    ("post", "/recording/stop", "", Json("id:string forceStop:boolean"), 200, Nothing),
    ("get", "/recording/download", "id", Nothing, 200, Bytes("video/mp4")),
    (
        "get",
        "/recording/list",
        "",
        Nothing,
        200,
        List("id*:string isRecording*:boolean started_at:time finished_at:time"),
    ),
    ("post", "/recording/delete", "", Json("id:string"), 200, Nothing),
    ("get", "/spec.json", "", Nothing, 200, Bytes("application/json")),
];

fn kind(name: &str) -> Value {
    match name {
        "strings" => json!({ "type": "array", "items": { "type": "string" } }),
        "points" => json!({ "type": "array", "items": { "type": "array", "items": { "type": "integer" } } }),
        "items" => json!({ "type": "array", "items": { "type": "object" } }),
        "binary" => json!({ "type": "string", "format": "binary" }),
        "time" => json!({ "type": "string", "format": "date-time" }),
        "uuid" => json!({ "type": "string", "format": "uuid" }),
        "any" => json!({}),
        other => json!({ "type": other }),
    }
}

fn object(fields: &str) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, is) in fields.split(' ').filter_map(|field| field.split_once(':')) {
        let plain = name.trim_end_matches('*');
        if plain != name {
            required.push(plain);
        }
        properties.insert(plain.to_owned(), kind(is));
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn content(content: Content) -> Option<Value> {
    let (kind, schema) = match content {
        Nothing => return None,
        Json(fields) => ("application/json", object(fields)),
        List(fields) => ("application/json", json!({ "type": "array", "items": object(fields) })),
        Form(fields) => ("multipart/form-data", object(fields)),
        Bytes(kind) => (kind, json!({ "type": "string", "format": "binary" })),
    };
    Some(json!({ kind: { "schema": schema } }))
}

fn document() -> Value {
    let mut paths = Map::new();
    let error = json!({
        "description": "What is wrong.",
        "content": { "application/json": { "schema": object("message*:string") } },
    });
    for (method, path, words, body, status, answer) in OPERATIONS {
        let parameter = |name: &str, place: &str| {
            let plain = name.trim_end_matches('*');
            let is_needed = plain != name || place == "path";
            json!({ "name": plain, "in": place, "required": is_needed, "schema": { "type": "string" } })
        };
        let mut parameters: Vec<Value> =
            words.split(' ').filter(|word| !word.is_empty()).map(|word| parameter(word, "query")).collect();
        parameters.extend(path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            Some(parameter(name, "path"))
        }));
        let mut good = json!({ "description": "Done." });
        if let Some(content) = content(answer) {
            good["content"] = content;
        }
        let mut operation = json!({ "responses": { status.to_string(): good, "default": error } });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(content) = content(body) {
            operation["requestBody"] = json!({ "content": content });
        }
        if let Some(all) = paths.entry(path).or_insert_with(|| json!({})).as_object_mut() {
            all.insert(method.to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Kernel Images API", "version": "0.1.0", "description": "As Glasshouse serves it: docs/kernel-images.md." },
        "security": [{ "bearer": [] }, {}],
        "components": { "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } } },
        "paths": paths,
    })
}

async fn answer(shared: &Shared, kind: &'static str) -> Reply {
    // Everybody takes this for the sign that the browser can be driven.
    if shared.desktop().devtools_port().is_some() && !chromium::is_ready(shared).await {
        return Err(Fail::new(StatusCode::SERVICE_UNAVAILABLE, "the browser is not ready yet: try again"));
    }
    Ok(([(header::CONTENT_TYPE, kind)], document().to_string()).into_response())
}

/// JSON is YAML too.
pub(super) async fn yaml(State(shared): State<Arc<Shared>>) -> Reply {
    answer(&shared, "application/vnd.oai.openapi").await
}

pub(super) async fn json(State(shared): State<Arc<Shared>>) -> Reply {
    answer(&shared, "application/json").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_there() {
        let all = document();
        let exec = &all["paths"]["/process/exec"]["post"];
        assert_eq!(exec["requestBody"]["content"]["application/json"]["schema"]["required"], json!(["command"]));
        assert_eq!(all["paths"]["/fs/watch/{watch_id}"]["delete"]["parameters"][0]["name"], "watch_id");
        assert_eq!(all["paths"]["/fs/read_file"]["get"]["parameters"][0]["required"], true);
        assert!(OPERATIONS.iter().all(|(_, path, ..)| crate::kernel::has(path)));
    }
}
