#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Changes one operator, constant, argument, check or statement of the library at a time, and counts which the tests notice.

usage: mutate.py SOURCES BUILD COUNT [FILE...]

SOURCES is a copy of the project, which is rewritten, and BUILD its build directory. All COUNT changes, drawn by lot from
FILE... (all of dispatch/ and kernels/ that is compiled here), are compiled at once, each behind a condition: the
environment variable BNORM_MUTANT chooses one. A mutant is killed where a test fails, crashes or does not end in time.
"""
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import shlex
import subprocess
import sys

SWAPS = {
    "+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "&&": "||", "||": "&&", "&": "|", "|": "&", "<<": ">>", ">>": "<<", "+=": "-=", "-=": "+=", "&=": "|=", "|=": "&=",
    "++": "--", "--": "++", "true": "false", "false": "true", "minimum": "maximum",
    "add": "sub", "sub": "add", "mul": "add", "v_add": "v_sub", "v_sub": "v_add", "v_mul": "v_add", "v_min": "v_max",
    "v_max": "v_min", "v_and": "v_or", "v_or": "v_and",
}
SYMMETRIC = re.compile(r"\b(sizeof|minimum|bnorm_min|add|mul|v_add|v_mul)$")  # whose arguments may change places
TOKEN = re.compile(r"[A-Za-z_]\w*|0[xX][0-9a-fA-F]+[uUlL]*|\d+\.\d*f?|\d+[uUlL]*"
                   r"|<<=|>>=|->|\+\+|--|<<|>>|[-+*/%&|^<>=!]=|&&|\|\||\S")
OPERAND = re.compile(r"[\w)\]]$")
KEYWORD = re.compile(r"(?:else|do)\b|case\b[^:?]*:|default:|\w+:(?!:)")
DECLARATION = re.compile(r"(?:const\s+|struct\s+|volatile\s+)*\w+[\s*]+(?:const\s+)?\w+[\s\[=,]")
UNTOUCHED = re.compile(r"(?:static|enum|struct|typedef|_Static_assert|extern|goto|break|continue)\b|$")


def masked(text):
    """The text with comments and the preprocessor's lines as spaces, so that places stay."""
    blank = lambda match: re.sub(r"[^\n]", " ", match.group())
    text = re.sub(r"/\*.*?\*/", blank, text, flags=re.S)
    text = re.sub(r"//[^\n]*", blank, text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)


def closing(code, at):
    """Where the bracket that opens at a place closes."""
    depth = 0
    for place in range(at, len(code)):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(code[place], 0)
        if depth == 0:
            return place
    return len(code)


def pieces(code, begin, end, separator):
    """The parts of a range between separators that are in no bracket."""
    at = begin
    while at < end:
        if code[at] in "([{":
            at = closing(code, at)
        elif code[at] == separator:
            yield begin, at
            begin = at + 1
        at += 1
    yield begin, end


def initialisers(code, begin, end):
    """The expressions that are given in `a = x, b = { .c = y, z }`."""
    for first, last in pieces(code, begin, end, ","):
        equals = re.search(r"(?<![=!<>+\-*/%&|^])=(?!=)", code[first:last])
        first += equals.end() if equals else 0
        text = code[first:last].strip()
        if text.startswith("{"):
            yield from initialisers(code, code.index("{", first) + 1, closing(code, code.index("{", first)))
        elif text and (equals or code[begin - 1] == "{"):
            yield first, last, "value"


def statement(code, begin, end):
    """The expressions of one statement without its semicolon: (begin, end, kind)."""
    while match := re.match(r"\s+|" + KEYWORD.pattern, code[begin:end]):
        begin += match.end()
    text = code[begin:end]
    if UNTOUCHED.match(text):
        return
    if match := re.match(r"(if|while|for)\s*\(", text):
        last = closing(code, begin + match.end() - 1)
        inner = list(pieces(code, begin + match.end(), last, ";"))
        if len(inner) == 3:
            yield from statement(code, *inner[0])
            yield *inner[2], "value"
        yield *(inner[1] if len(inner) == 3 else inner[0]), "condition"
        yield from statement(code, last + 1, end)
    elif text.startswith("return"):
        yield begin + len("return"), end, "value"
    elif DECLARATION.match(text):
        yield from initialisers(code, begin, end)
    elif not text.startswith("{"):
        yield begin, end, "statement"


def expressions(code):
    """All of them that functions evaluate."""
    begin = at = depth = 0
    while at < len(code):
        if code[at] in "([":
            at = closing(code, at)
        elif code[at] == "{":
            before = code[begin:at].rstrip()
            if depth and (before.endswith(("=", ",")) or before.lstrip().startswith("return") or before.endswith("]")):
                at = closing(code, at)
            else:
                if depth:
                    yield from statement(code, begin, at)
                depth, begin = depth + (depth > 0 or before.endswith(")")), at + 1
                if not depth:
                    at = closing(code, at)
                    begin = at + 1
        elif code[at] == "}":
            depth, begin = depth - 1, at + 1
        elif code[at] == ";":
            if depth:
                yield from statement(code, begin, at)
            begin = at + 1
        at += 1


def edits(text, kind):
    """All changes of one expression, as its new texts."""
    before = ""
    for match in TOKEN.finditer(text):
        token = match.group()
        new = SWAPS.get(token)
        if token in "+-*&" and not OPERAND.search(before) or token == "*" and re.match(r"\s*[*)]", text[match.end():]):
            new = None  # a sign, a pointer
        if token[0].isdigit() and "." not in token:
            new = "1" if int(token.rstrip("uUlL"), 0) == 0 else f"({token} + 1)"
        if new:
            yield text[:match.start()] + new + text[match.end():]
        if token == "(" and re.search(r"\w$", before) and not SYMMETRIC.search(before):
            arguments = [text[a:b] for a, b in pieces(text, match.end(), closing(text, match.start()), ",")]
            if len(arguments) == 2:
                end = closing(text, match.start())
                yield f"{text[:match.end()]}{arguments[1].strip()}, {arguments[0].strip()}{text[end:]}"
        before = text[:match.end()]
    if kind == "condition":
        yield f"!({text.strip()})"
        yield f"0 && ({text.strip()})"
    if kind == "statement":
        yield "(void)0"


def find_mutants(root, files):
    mutants = []
    for name in files:
        source = (root / name).read_text(encoding="utf-8")
        code = masked(source)
        for begin, end, kind in sorted(set(expressions(code))):
            begin = end - len(code[begin:end].lstrip())
            text = code[begin:end]
            mutants += [{"file": name, "begin": begin, "end": end, "line": source.count("\n", 0, begin) + 1,
                         "old": " ".join(text.split()), "new": " ".join(new.split()), "kind": kind}
                        for new in dict.fromkeys(edits(text, kind)) if new != text]
    return mutants


def switch(group, text):
    """One expression with all its mutants; it takes as many lines as before."""
    choice = text
    for number, mutant in group:
        if mutant["kind"] == "statement":
            choice = f"BNORM_MUTANT({number}) ? (void)({mutant['new']}) : (void)({choice})"
        else:
            choice = f"BNORM_MUTANT({number}) ? ({mutant['new']}) : ({choice})"
    return "(" + choice.replace("\n", " ") + ")" + "\n" * text.count("\n")


def write(root, originals, mutants):
    """The sources with all mutants that are left, and where each is chosen."""
    for name, source in originals.items():
        sites = {}
        for number, mutant in mutants.items():
            if mutant["file"] == name:
                sites.setdefault((mutant["begin"], mutant["end"]), []).append((number, mutant))
        code = masked(source)
        for (begin, end), group in sorted(sites.items(), reverse=True):
            source = source[:begin] + switch(group, code[begin:end]) + source[end:]
        (root / name).write_text(source, encoding="utf-8")
    (root / "mutant.h").write_text("extern int bnorm_mutant;\n#define BNORM_MUTANT(n) (bnorm_mutant == (n))\n"
                                    "#define maximum(a, b) ((a) > (b) ? (a) : (b))\n")
    with open(root / "dispatch/status.c", "a", encoding="utf-8") as status:
        status.write("#include <stdlib.h>\nint bnorm_mutant;\n__attribute__((constructor)) static void choose_mutant(void)\n"
                     "{\n    const char *n = getenv(\"BNORM_MUTANT\");\n    bnorm_mutant = n ? atoi(n) : 0;\n}\n")


def build(root, directory, originals, mutants):
    """Leaves out what the compiler refuses, until it refuses nothing."""
    while True:
        write(root, originals, mutants)
        ninja = subprocess.run(["ninja", "-k", "0", "-C", directory], capture_output=True, text=True, check=False)
        if ninja.returncode == 0:
            return
        places = {(pathlib.PurePath(name).name, int(line))  # of errors, and of what called or expanded them
                  for name, line in re.findall(r"([\w./]+):(\d+):\d+", ninja.stdout)}
        refused = [number for number, mutant in mutants.items()
                   if (pathlib.PurePath(mutant["file"]).name, mutant["line"]) in places]
        print(f"the compiler refuses {len(refused)}", flush=True)
        if not refused:
            sys.exit(ninja.stdout[-8000:])
        for number in refused:
            del mutants[number]


def compiled(directory, mutants):
    """Those mutants that the preprocessor lets through here."""
    numbers = set()
    for unit in json.loads(subprocess.check_output(["ninja", "-C", directory, "-t", "compdb"])):
        if re.search(r"/(dispatch|kernels)/", unit["file"]) and " -c " in unit["command"]:
            command = re.sub(r" -o \S+ -c ", " -E ", unit["command"])
            source = subprocess.check_output(shlex.split(command), cwd=unit["directory"], text=True)
            numbers.update(map(int, re.findall(r"\(bnorm_mutant == \((\d+)\)\)", source)))
    return {number: mutant for number, mutant in mutants.items() if number in numbers}


def tests_of(directory):
    """The programs of the suites that look at results, the quickest first: (name, command, environment, CPU seconds)."""
    tests = []
    for test in json.loads(subprocess.check_output(["meson", "introspect", "--tests", directory])):
        suites = {suite.rpartition(":")[2] for suite in test["suite"]}
        if not suites & {"api", "kernels"} and not test["name"].startswith("dispatch on") or test["name"] == "pytorch":
            continue
        command = ["stdbuf", "-oL", *test["cmd"]]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        result = run_test(directory, command, test["env"], 0, 3600)
        if result:
            sys.exit(f"{test['name']} fails without a mutant: {result}")
        tests.append((test["name"], command, test["env"], resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before))
    return sorted(tests, key=lambda test: test[3])


def run_test(directory, command, environment, number, seconds):
    """Why it fails, or None."""
    environment = {**os.environ, **environment, "BNORM_MUTANT": str(number)}
    # A machine that does other things, too, is no reason to call it hung.
    limits = ["timeout", "-k", "1", str(10 * seconds), "prlimit", f"--cpu={seconds}"]
    with subprocess.Popen([*limits, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL, text=True, errors="replace", env=environment, cwd=directory) as process:
        for line in process.stdout:
            if line.startswith("not ok"):
                process.terminate()
                return line.strip()
    return f"status {process.returncode}" if process.returncode not in (0, 77) else None


def judge(directory, tests, number):
    for name, command, environment, seconds in tests:
        if why := run_test(directory, command, environment, number, int(10 + 5 * seconds)):
            return f"{name}: {why}"
    return None


def compiled_files(root, directory):
    """What of the library the compiler reads here."""
    names = set()
    for dependencies in re.findall(r"(?<=deps ).*?(?=\n\n|\Z)", subprocess.check_output(
            ["ninja", "-C", directory, "-t", "deps"], text=True), re.S):
        names.update(re.findall(r"\S+", dependencies))
    places = {os.path.relpath(pathlib.Path(directory, name).resolve(), root) for name in names}
    return sorted(place for place in places if re.match(r"(dispatch|kernels)/.*\.(c|h|inc)$", place))


def explained():
    """The mutants that no test can tell from the library, as tests/mutants.txt has them."""
    lines = pathlib.Path(__file__).with_name("mutants.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def described(mutant):
    return f"{mutant['file']}: {mutant['old']} -> {mutant['new']}"


def main(sources, directory, count, *files):
    root = pathlib.Path(sources).resolve()
    subprocess.run(["ninja", "-C", directory], check=True, stdout=subprocess.DEVNULL)
    files = files or compiled_files(root, directory)
    originals = {name: (root / name).read_text(encoding="utf-8") for name in {*files, "dispatch/status.c"}}
    found = find_mutants(root, files)
    drawn = random.Random(1).sample(found, min(int(count), len(found)))
    mutants = dict(enumerate(sorted(drawn, key=lambda mutant: (mutant["file"], mutant["begin"])), start=1))
    build(root, directory, originals, mutants)
    mutants = compiled(directory, mutants)
    equal = [number for number, mutant in mutants.items() if described(mutant) in explained()]
    print(f"{len(found)} mutants in {len(files)} files, {len(drawn)} drawn; {len(mutants)} are C that is compiled here,",
          f"of which {len(equal)} are known to change nothing that a test could see", flush=True)
    tests, passed = tests_of(directory), 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        judged = {pool.submit(judge, directory, tests, number): number for number in mutants if number not in equal}
        for future in concurrent.futures.as_completed(judged):
            mutant, why = mutants[judged[future]], future.result()
            print(f"{mutant['line']}, {described(mutant)}: {why or 'SURVIVES'}", flush=True)
            passed += why is not None
    print(f"mutate: {passed} passed, {len(judged) - passed} failed, {len(equal)} skipped")
    sys.exit(passed < len(judged))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
