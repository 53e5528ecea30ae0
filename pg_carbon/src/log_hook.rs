//! Adds a request's id to the server's log lines and removes values that users typed.
//!
//! A failed cast quotes its input (`invalid input syntax for type numeric: "0812345678"`), so a phone number or a note would
//! be in the log for as long as logs are retained. `log_error_verbosity = terse` leaves out
//! DETAIL, CONTEXT and QUERY, not the message itself.
//!
//! PostgreSQL's `EmitErrorReport` calls the hook, then writes to the log, then sends to the client, all from one
//! `ErrorData`; a hook that changes a field changes it for the client too. So this hook writes to
//! the log itself: it sets its own texts, turns off the client and calls `EmitErrorReport` for the same record once more
//! (and recognises its own text when that call comes back here). Then it restores everything and turns off the log, and the
//! original call goes on to send the original texts to the client.
//!
//! The hook runs in every process, even in aborted transactions, during recovery and without free memory. So it only reads
//! settings and C strings, writes to static buffers, and neither allocates nor raises. The two functions that it calls are
//! declared here without pgrx's guards, which would mistake the error being reported for one of their own.

use core::ffi::{CStr, c_char};
use core::ptr;

use pgrx::prelude::*;

/// Roles that requests of clients run as.
const CLIENT_ROLES: [&[u8]; 2] = [b"anon", b"authenticated"];

/// Users of sessions that serve requests: PostgREST's, regardless of the role that it switches to, and Auth's.
const CLIENT_SESSIONS: [&[u8]; 2] = [b"authenticator", b"supabase_auth_admin"];

/// The replacement for a value.
const HIDDEN: &[u8] = b"...";

/// The longest number that is shown: a limit or a year, but not a phone number.
const SHOWN_DIGITS: usize = 5;

/// Hexadecimal digits of a request's id.
const ID_DIGITS: usize = 32;

/// Bytes of a message and of a statement that reach the log, the closing zero included.
const MESSAGE_BYTES: usize = 2048;
const STATEMENT_BYTES: usize = 16 * 1024;

/// SQLSTATE 42601, which the parsers of search expressions and JSON paths raise about users' input.
const SYNTAX_ERROR: i32 = sqlstate(*b"42601");

/// The last two classes that quote values: data exceptions; violated constraints do so in DETAIL.
const DATA_EXCEPTION: i32 = sqlstate(*b"22000");
const CONSTRAINT_VIOLATION: i32 = sqlstate(*b"23000");

/// The bits of an SQLSTATE that name its class.
const CLASS: i32 = (1 << 12) - 1;

static mut PREVIOUS: pg_sys::emit_log_hook_type = None;
static mut MESSAGE: [u8; MESSAGE_BYTES] = [0; MESSAGE_BYTES];
static mut STATEMENT: [u8; STATEMENT_BYTES] = [0; STATEMENT_BYTES];

unsafe extern "C-unwind" {
    fn EmitErrorReport();
    fn GetConfigOption(
        name: *const c_char,
        missing_ok: bool,
        restrict_privileged: bool,
    ) -> *const c_char;
}

/// Installs the hook in front of those of other libraries. Called by the postmaster while it loads libraries.
pub fn register() {
    // SAFETY: the postmaster has one thread, and the processes that it forks inherit both values.
    unsafe {
        PREVIOUS = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(on_log);
    }
}

/// Called for each message that goes to the server's log.
unsafe extern "C-unwind" fn on_log(edata: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes the record on top of its stack of errors, and a process has one thread. What is read
    // of settings are strings that live as long as they are not set again, which nothing here does.
    unsafe {
        let is_own = (*edata).message == (&raw mut MESSAGE).cast();
        if !is_own && (*edata).output_to_server && is_of_a_client() {
            log_for_client(edata);
            return;
        }
        let previous = PREVIOUS;
        if let Some(previous) = previous {
            previous(edata);
        }
    }
}

/// Logs the message without values, and leaves the record unchanged for the client.
unsafe fn log_for_client(edata: *mut pg_sys::ErrorData) {
    // SAFETY: as `on_log`; the two buffers are each used by one line at a time. Should `EmitErrorReport` raise (memory has run out), control leaves this frame, which holds
    // nothing to be dropped; what the record and the statement then point to is static.
    unsafe {
        let was = ptr::read(edata);
        let statement = pg_sys::debug_query_string;

        let mut line = Line::new((&raw mut MESSAGE).cast(), MESSAGE_BYTES);
        let message = bytes(was.message);
        if quotes_values(was.sqlerrcode) {
            hide_quoted(message, &mut line);
        } else if shows_statement(message) {
            hide_literals(message, &mut line);
        } else {
            line.add(message);
        }
        if let Some(id) = request_id(setting(c"request.headers")) {
            line.end_with(&[b" (request ", id, b")"]);
        }
        (*edata).message = line.close();
        if hides_the_rest(was.sqlerrcode) {
            (*edata).detail = keep_token(was.detail);
            (*edata).detail_log = ptr::null_mut();
            (*edata).hint = ptr::null_mut();
            (*edata).context = ptr::null_mut();
            (*edata).internalquery = ptr::null_mut();
        }
        if !statement.is_null() {
            let mut line = Line::new((&raw mut STATEMENT).cast(), STATEMENT_BYTES);
            hide_literals(bytes(statement), &mut line);
            pg_sys::debug_query_string = line.close();
        }

        (*edata).output_to_client = false;
        EmitErrorReport();
        pg_sys::debug_query_string = statement;
        ptr::write(edata, was);
        (*edata).output_to_server = false;
    }
}

/// Whether the message is about a request. A parallel worker does not know the role, but the session's user.
unsafe fn is_of_a_client() -> bool {
    // SAFETY: as `on_log`.
    unsafe {
        CLIENT_SESSIONS.contains(&setting(c"session_authorization"))
            || CLIENT_ROLES.contains(&setting(c"role"))
    }
}

/// A setting's text, empty where there is none.
unsafe fn setting<'a>(name: &CStr) -> &'a [u8] {
    // SAFETY: a missing setting is no error, and privileges, which need a transaction, are not checked.
    unsafe { bytes(GetConfigOption(name.as_ptr(), true, false)) }
}

unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: PostgreSQL's strings end with a zero.
    unsafe { CStr::from_ptr(text).to_bytes() }
}

/// A detail that is one of our tokens, such as `carbon.unknown_user`; any other quotes values.
unsafe fn keep_token(detail: *mut c_char) -> *mut c_char {
    // SAFETY: as `bytes`.
    let text = unsafe { bytes(detail) };
    let is_token = text.starts_with(b"carbon.")
        && text
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_'));
    if is_token { detail } else { ptr::null_mut() }
}

/// Whether messages with this SQLSTATE quote input that could not be parsed.
fn quotes_values(sqlstate: i32) -> bool {
    sqlstate & CLASS == DATA_EXCEPTION || sqlstate == SYNTAX_ERROR
}

/// Whether this is a line about a statement: one that took long, or one of all where all are logged.
fn shows_statement(message: &[u8]) -> bool {
    message.starts_with(b"duration: ") || message.starts_with(b"statement: ")
}

/// Whether details, hints and contexts of this SQLSTATE show values.
fn hides_the_rest(sqlstate: i32) -> bool {
    quotes_values(sqlstate) || sqlstate & CLASS == CONSTRAINT_VIOLATION
}

/// PostgreSQL's number of an SQLSTATE: six bits a character.
const fn sqlstate(code: [u8; 5]) -> i32 {
    let mut packed = 0;
    let mut place = 0;
    while place < code.len() {
        packed |= ((code[place].wrapping_sub(b'0') & 0x3f) as i32) << (6 * place);
        place += 1;
    }
    packed
}

/// The id in PostgREST's `request.headers`, a JSON object. Quotes within JSON texts are escaped, so that the value of
/// another header cannot look like this member.
fn request_id(headers: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"\"x-request-id\"";
    let at = headers
        .windows(NAME.len())
        .position(|window| window == NAME)?;
    let after = headers.get(at + NAME.len()..)?.trim_ascii_start();
    let value = after.strip_prefix(b":")?.trim_ascii_start();
    let (id, rest) = value.strip_prefix(b"\"")?.split_at_checked(ID_DIGITS)?;
    let is_id = id
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && rest.starts_with(b"\"")).then_some(id)
}

/// The message without everything between its first and last quotation mark, because a value may contain some itself.
fn hide_quoted(message: &[u8], line: &mut Line) {
    let mark = |byte: &u8| *byte == b'"';
    let Some(first) = message.iter().position(mark) else {
        return line.add(message);
    };
    line.add(message.get(..=first).unwrap_or_default());
    line.add(HIDDEN);
    match message.iter().rposition(mark) {
        Some(last) if last > first => line.add(message.get(last..).unwrap_or_default()),
        _ => {}
    }
}

/// The statement without its values: single-quoted texts, long numbers, and everything after a dollar quote or a comment.
/// Parameters (`$1`) and names remain.
fn hide_literals(statement: &[u8], line: &mut Line) {
    let mut rest = statement;
    // The two bytes before.
    let mut before = [b' '; 2];
    while let Some((&byte, after)) = rest.split_first() {
        let next = after.first().copied().unwrap_or(b' ');
        let length = match (byte, next) {
            (b'$', next) if !is_of_a_word(before[1]) && !next.is_ascii_digit() => {
                return line.add(HIDDEN);
            }
            (b'-', b'-') | (b'/', b'*') => return line.add(HIDDEN),
            (b'\'', _) => {
                let with_backslashes = matches!(before[1], b'e' | b'E') && !is_of_a_word(before[0]);
                for part in [b"'".as_slice(), HIDDEN, b"'"] {
                    line.add(part);
                }
                1 + quoted(after, b'\'', with_backslashes)
            }
            (b'"', _) => {
                let length = 1 + quoted(after, b'"', false);
                line.add(rest.get(..length).unwrap_or_default());
                length
            }
            (b'0'..=b'9', _) if !is_of_a_word(before[1]) => {
                let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = rest.get(..length).unwrap_or_default();
                line.add(if length > SHOWN_DIGITS {
                    HIDDEN
                } else {
                    number
                });
                length
            }
            _ => {
                line.add(&[byte]);
                1
            }
        };
        let (done, left) = rest.split_at_checked(length).unwrap_or((rest, b""));
        before = match done {
            [.., one, two] => [*one, *two],
            _ => [before[1], byte],
        };
        rest = left;
    }
}

/// Whether a byte may be part of a name or a number.
fn is_of_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// Bytes up to and including the mark that closes a quoted text; all if it is not closed. A doubled mark does not close it.
fn quoted(text: &[u8], mark: u8, with_backslashes: bool) -> usize {
    let mut length = 0;
    while let Some(&byte) = text.get(length) {
        let next = text.get(length + 1);
        length += match byte {
            b'\\' if with_backslashes => 2,
            byte if byte == mark && next == Some(&mark) => 2,
            byte if byte == mark => return length + 1,
            _ => 1,
        };
    }
    text.len()
}

/// A C string that is written to a buffer and cut where the buffer ends.
struct Line {
    buffer: *mut u8,
    /// Bytes of the buffer, the closing zero included.
    size: usize,
    length: usize,
}

impl Line {
    /// # Safety
    /// `buffer` has `size` bytes, at least one, which nothing else uses while this lives.
    unsafe fn new(buffer: *mut u8, size: usize) -> Self {
        Self {
            buffer,
            size,
            length: 0,
        }
    }

    fn add(&mut self, text: &[u8]) {
        let room = self.size - 1 - self.length;
        let count = complete_characters(text, room);
        // SAFETY: `count` bytes of the text fit behind `length` bytes of the buffer, which is static: no text of
        // PostgreSQL's lies in it.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), self.buffer.add(self.length), count) };
        self.length += count;
    }

    /// Adds an end that is always complete: the text before it is cut instead.
    fn end_with(&mut self, parts: &[&[u8]]) {
        let needed: usize = parts.iter().map(|part| part.len()).sum();
        let max_bytes = (self.size - 1).saturating_sub(needed);
        // SAFETY: `length` bytes have been written.
        let written = unsafe { core::slice::from_raw_parts(self.buffer, self.length) };
        self.length = complete_characters(written, max_bytes);
        for part in parts {
            self.add(part);
        }
    }

    fn close(self) -> *mut c_char {
        // SAFETY: `length` stays below the buffer's size.
        unsafe { self.buffer.add(self.length).write(0) };
        self.buffer.cast()
    }
}

/// How many of the first bytes are complete UTF-8 characters, at most `max_bytes`.
fn complete_characters(text: &[u8], max_bytes: usize) -> usize {
    if text.len() <= max_bytes {
        return text.len();
    }
    (0..=max_bytes)
        .rev()
        .find(|count| text.get(*count).is_none_or(|byte| byte & 0xc0 != 0x80))
        .unwrap_or(0)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use super::{Line, bytes, hide_literals, hide_quoted, quotes_values, request_id, sqlstate};

    /// What `write` writes to a buffer of `size` bytes.
    fn written(size: usize, write: impl FnOnce(&mut Line)) -> String {
        let mut buffer = vec![0; size];
        // SAFETY: the buffer has this size and outlives its use.
        let text = unsafe {
            let mut line = Line::new(buffer.as_mut_ptr(), size);
            write(&mut line);
            bytes(line.close())
        };
        String::from_utf8(text.to_vec()).expect("complete characters")
    }

    #[pg_test]
    fn values_in_messages_are_hidden_even_with_quotation_marks() {
        let hidden = |message: &str| written(200, |line| hide_quoted(message.as_bytes(), line));
        assert_eq!(
            hidden("invalid input syntax for type numeric: \"0812345678\""),
            "invalid input syntax for type numeric: \"...\""
        );
        assert_eq!(
            hidden("invalid input syntax for type numeric: \"a \"quoted\" note\" at end"),
            "invalid input syntax for type numeric: \"...\" at end"
        );
        assert_eq!(hidden("broken: \"ขยะ"), "broken: \"...");
        assert_eq!(hidden("integer out of range"), "integer out of range");
    }

    #[pg_test]
    fn a_statement_retains_names_and_parameters_and_loses_values() {
        let hidden =
            |statement: &str| written(200, |line| hide_literals(statement.as_bytes(), line));
        assert_eq!(
            hidden("select \"a\".b2 from t where c = $1 and d = 'it''s' limit 20"),
            "select \"a\".b2 from t where c = $1 and d = '...' limit 20"
        );
        assert_eq!(
            hidden(r"select E'it\'s', 'x\', 0812345678"),
            "select E'...', '...', ..."
        );
        assert_eq!(hidden("select $$a note$$"), "select ...");
        assert_eq!(hidden("select $tag$a note$tag$"), "select ...");
        assert_eq!(hidden("select 'never closed"), "select '...'");
        assert_eq!(
            hidden(r#"select date'a\', 'note', "it's", 'note'"#),
            r#"select date'...', '...', "it's", '...'"#
        );
        assert_eq!(hidden("select 1 -- it's"), "select 1 ...");
        assert_eq!(
            hidden("duration: 312.125 ms  execute x: select 'note'"),
            "duration: 312.125 ms  execute x: select '...'"
        );
        assert_eq!(hidden("select ชื่อ1234567"), "select ชื่อ1234567");
    }

    #[pg_test]
    fn the_request_id_is_read_from_its_own_header_only() {
        let id = "0123456789abcdef0123456789abcdef";
        let read = |headers: &str| {
            request_id(headers.as_bytes()).map(|id| String::from_utf8_lossy(id).into_owned())
        };
        assert_eq!(
            read(&format!(r#"{{"accept":"*/*","x-request-id":"{id}"}}"#)).as_deref(),
            Some(id)
        );
        assert_eq!(
            read(&format!(r#"{{"x-request-id" : "{id}"}}"#)).as_deref(),
            Some(id)
        );
        for other in [
            String::new(),
            r#"{"x-request-id":"short"}"#.to_owned(),
            format!(r#"{{"x-request-id":"{id}0"}}"#),
            format!(r#"{{"x-request-id":"{}"}}"#, id.to_uppercase()),
            // The value of another header, as JSON escapes it.
            format!(r#"{{"note":"\"x-request-id\":\"{id}\""}}"#),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
    }

    #[pg_test]
    fn an_oversized_line_is_cut_between_characters_and_retains_its_end() {
        assert_eq!(written(8, |line| line.add("ขยะ".as_bytes())), "ขย");
        assert_eq!(
            written(12, |line| {
                line.add("ขยะขยะ".as_bytes());
                line.end_with(&[b" (", b"id", b")"]);
            }),
            "ขย (id)"
        );
    }

    #[pg_test]
    fn classes_that_quote_values_are_recognised_by_number() {
        for code in [*b"22P02", *b"22023", *b"22007", *b"22003", *b"42601"] {
            assert!(quotes_values(sqlstate(code)));
        }
        for code in [*b"23505", *b"42501", *b"PT429", *b"57014", *b"XX000"] {
            assert!(!quotes_values(sqlstate(code)));
        }
        assert_eq!(
            sqlstate(*b"22P02"),
            PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION as i32
        );
    }
}
