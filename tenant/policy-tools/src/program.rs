//! The tools by name, and how each ends.

use crate::command_line::{
    CONVERT_RUNTIME_POLICY, CREATE_MB_REFSTATE, CREATE_POLICY, KEYLIME_POLICY, SIGN_RUNTIME_POLICY,
};
use crate::environment::{Console, Environment};
use crate::error::ToolError;
use crate::{
    convert_runtime_policy, create_measured_boot, create_policy, create_runtime, policy_difference, policy_lint,
    policy_trial, sign_runtime,
};
use keylime_arguments::{Matches, Parser, Stop};
use std::io::Write;

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `keylime-policy`.
    KeylimePolicy,
    /// `keylime_create_policy`.
    CreatePolicy,
    /// `keylime_convert_runtime_policy`.
    ConvertRuntimePolicy,
    /// `keylime_sign_runtime_policy`.
    SignRuntimePolicy,
    /// `create_mb_refstate`.
    CreateMbRefstate,
}

/// Exit code of success.
const SUCCESS: i32 = 0;

/// Exit code of a tool that ends without a result.
const FAILURE: i32 = 1;

/// Exit code of a command that looks into policies and cannot read them.
const TROUBLE: i32 = 2;

/// What a command that looks into policies found; its exit code is 0 for nothing and 1 for something, as `diff` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// No difference, no failure.
    Nothing,
    /// A difference, a failure.
    Something,
}

/// Exit code of a command line that cannot be understood.
const USAGE: i32 = 2;

/// Runs a tool with the arguments after its name and answers its exit code.
pub fn run(
    program: Program,
    arguments: &[String],
    environment: &Environment,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> i32 {
    let mut console = Console::new(stdout, stderr, environment.offset);
    let code = match program {
        Program::KeylimePolicy => keylime_policy(arguments, environment, &mut console),
        Program::CreatePolicy => CREATE.run(arguments, environment, &mut console),
        Program::ConvertRuntimePolicy => CONVERT.run(arguments, environment, &mut console),
        Program::SignRuntimePolicy => SIGN.run(arguments, environment, &mut console),
        Program::CreateMbRefstate => REFERENCE_STATE.run(arguments, environment, &mut console),
    };
    match console.stdout.flush() {
        Ok(()) => code,
        Err(_) => code.max(FAILURE),
    }
}

fn keylime_policy(arguments: &[String], environment: &Environment, console: &mut Console<'_>) -> i32 {
    if environment.effective_user != 0 && needs_root(arguments) {
        console.error("Please, run this program as root");
        return FAILURE;
    }
    let selection = match KEYLIME_POLICY.parse(arguments, environment.columns) {
        Ok(selection) => selection,
        Err(stop) => return stopped(stop, console),
    };
    let matches = &selection.matches;
    let result = match selection.path[..] {
        ["create", "runtime"] => create_runtime::run(matches, environment, console),
        ["create", "measured-boot"] => create_measured_boot::run(matches, environment, console),
        ["sign", "runtime"] => sign_runtime::run(matches, environment, console),
        ["diff"] => return looked(policy_difference::run(matches, environment, console), console),
        ["lint"] => return looked(policy_lint::run(matches, environment, console), console),
        ["test"] => return looked(policy_trial::run(matches, environment, console), console),
        _ => match KEYLIME_POLICY.parse(&["-h".to_owned()], environment.columns) {
            Err(stop) => return stopped(stop, console),
            Ok(_) => Ok(()),
        },
    };
    match result {
        Ok(()) => SUCCESS,
        Err(problem) => {
            console.error(problem);
            FAILURE
        }
    }
}

fn looked(result: Result<Finding, ToolError>, console: &mut Console<'_>) -> i32 {
    match result {
        Ok(Finding::Nothing) => SUCCESS,
        Ok(Finding::Something) => FAILURE,
        Err(problem) => {
            console.error(problem);
            TROUBLE
        }
    }
}

/// Creating and signing is for root, as in the reference; asking for help is not.
fn needs_root(arguments: &[String]) -> bool {
    let first = arguments.first().map(String::as_str);
    matches!(first, Some("create" | "sign"))
        && !arguments.iter().any(|argument| argument == "-h" || argument == "--help")
}

/// A tool from before `keylime-policy`, which takes options only.
struct OlderTool {
    parser: Parser,
    run: fn(&Matches, &Environment, &mut Console<'_>) -> Result<(), ToolError>,
    manners: Manners,
}

/// How an older tool treats its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// As other tools: usage and refusals on standard error.
    Usual,
    /// Help for no arguments and after a wrong command line; refusals on standard output.
    Chatty,
}

const CREATE: OlderTool = OlderTool { parser: CREATE_POLICY, run: create_policy::run, manners: Manners::Usual };

const CONVERT: OlderTool =
    OlderTool { parser: CONVERT_RUNTIME_POLICY, run: convert_runtime_policy::run, manners: Manners::Chatty };

const REFERENCE_STATE: OlderTool =
    OlderTool { parser: CREATE_MB_REFSTATE, run: create_measured_boot::run_script, manners: Manners::Usual };

const SIGN: OlderTool =
    OlderTool { parser: SIGN_RUNTIME_POLICY, run: sign_runtime::run_legacy, manners: Manners::Chatty };

impl OlderTool {
    fn run(&self, arguments: &[String], environment: &Environment, console: &mut Console<'_>) -> i32 {
        let chatty = self.manners == Manners::Chatty;
        if arguments.is_empty() && chatty {
            return stopped(Stop::Print(self.parser.help(environment.columns)), console);
        }
        let matches = match self.parser.parse(arguments, environment.columns) {
            Ok(matches) => matches,
            Err(Stop::Usage(text)) if chatty => {
                let message = text.lines().last().and_then(|line| line.split_once(": error: "));
                console.note(format_args!("error: {}", message.map_or(text.trim_end(), |(_, message)| message)));
                console.note(self.parser.help(environment.columns).trim_end());
                return USAGE;
            }
            Err(stop) => return stopped(stop, console),
        };
        match ((self.run)(&matches, environment, console), self.manners) {
            (Ok(()), _) => SUCCESS,
            (Err(ToolError::Refused(message)), Manners::Chatty) => {
                // The exit code tells the failure even if nobody reads the line.
                let _ = console.line(message);
                FAILURE
            }
            (Err(problem), _) => {
                console.note(problem);
                FAILURE
            }
        }
    }
}

fn stopped(stop: Stop, console: &mut Console<'_>) -> i32 {
    match stop {
        Stop::Print(text) => match write!(console.stdout, "{text}") {
            Ok(()) => SUCCESS,
            Err(_) => FAILURE,
        },
        Stop::Usage(text) => {
            let _ = write!(console.stderr, "{text}");
            USAGE
        }
    }
}
