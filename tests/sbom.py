#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes what the installed libraries and the static benchmarks are linked with, as SPDX 2.3, and has it validated.

usage: sbom.py VERSION PREFIX FILE.spdx.json [STATIC_BENCHMARK...]
"""
import datetime
import hashlib
import os
import pathlib
import platform
import re
import subprocess
import sys
import urllib.parse
import uuid

from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx import model
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from spdx_tools.spdx.writer.write_anything import write_file

# By source package, and of the part that is linked: a library that is not here is an error.
LICENCES = {
    "benchmark": "Apache-2.0",
    "cross-toolchain-base": "LGPL-2.1-or-later",  # the C library, for other CPUs
    "gcc": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "glibc": "LGPL-2.1-or-later",
    "openmpi": "BSD-3-Clause-Open-MPI",
    "pthreadpool": "BSD-2-Clause",
    "sleef": "BSL-1.0",
}
Link = model.RelationshipType


def output(*command, **environment):
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment).stdout


def spdx_id(kind, name):
    return f"SPDXRef-{kind}-{re.sub('[^A-Za-z0-9.-]', '-', name)}"


def package(name, version, licence, purl=None):
    refs = [model.ExternalPackageRef(model.ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)] if purl else []
    return model.Package(spdx_id("Package", name), name, model.SpdxNoAssertion(),
                         version=version, files_analyzed=False, external_references=refs,
                         license_concluded=spdx_licensing.parse(licence), license_declared=spdx_licensing.parse(licence))


def package_of(path):
    """The package that a library of the system is from; dpkg may know it by its path before /lib was merged into /usr."""
    real = os.path.realpath(path)
    found = subprocess.run(["dpkg-query", "-S", real, real.removeprefix("/usr")], check=False, capture_output=True, text=True)
    name = found.stdout.split(": ")[0].split(", ")[0]
    fields = output("dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture} ${source:Package}", name)
    name, version, arch, source = fields.split()
    licence = LICENCES[re.sub(r"^gcc-\d+.*", "gcc", source)]
    return package(name, version, licence, f"pkg:deb/debian/{name}@{urllib.parse.quote(version, '~:')}?arch={arch}")


def needed_by(library, directory):
    """The libraries that the loader will look for, by name, and where it finds them."""
    names = re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", library))
    found = dict(re.findall(r"(\S+) => (\S+)", output("ldd", library, LD_LIBRARY_PATH=str(directory))))
    return {name: found[name] for name in names}


def parts_of(benchmark):
    """What a static program has inside beside bnorm: Google Benchmark, as it was built for it, and the compiler's."""
    arch = benchmark.name.rpartition("-")[2]
    directory = benchmark.parent / f"package-{arch}/prefix/lib/pkgconfig"
    version = re.search(r"^Version: (\S+)", (directory / "benchmark.pc").read_text(encoding="utf-8"), re.M)[1]
    paths = [output(f"{arch}-linux-gnu-g++", f"-print-file-name={name}.a").strip() for name in ("libc", "libstdc++", "libgcc")]
    return [package("benchmark", version, LICENCES["benchmark"]), *map(package_of, paths)]


def describe(version, prefix, benchmarks):
    """The elements of the document, and what links what."""
    bnorm = package("bnorm", version, "MIT")
    packages, files, links = {bnorm.spdx_id: bnorm}, [], [("SPDXRef-DOCUMENT", Link.DESCRIBES, bnorm)]
    directory = prefix / "lib"
    shared = sorted(path for path in directory.glob("*.so.*") if not path.is_symlink())
    for path in [*shared, *sorted(directory.glob("*.a")), *benchmarks]:
        digests = [model.Checksum(model.ChecksumAlgorithm[name], hashlib.new(name, path.read_bytes()).hexdigest())
                   for name in ("SHA1", "SHA256")]
        file = model.File(f"./{path.name}", spdx_id("File", path.name), digests, [model.FileType.BINARY],
                          license_concluded=spdx_licensing.parse("MIT") if path not in benchmarks else None)
        files.append(file)
        links.append((file.spdx_id, Link.GENERATED_FROM, bnorm))
        if path in benchmarks:
            how, parts = Link.STATIC_LINK, parts_of(path)
        else:  # a static library has nothing inside, and asks whoever links it for what the shared one needs
            how = Link.DYNAMIC_LINK if path in shared else Link.HAS_PREREQUISITE
            of = path if path in shared else next(lib for lib in shared if lib.name.startswith(f"{path.stem}.so"))
            parts = [bnorm if name.startswith("libbnorm") else package_of(where)
                     for name, where in needed_by(of, directory).items()]
        for part in parts:
            packages.setdefault(part.spdx_id, part)
            links.append((file.spdx_id, how, part))
    return list(packages.values()), files, [model.Relationship(one, how, part.spdx_id) for one, how, part in links]


def main(version, prefix, target, *benchmarks):
    packages, files, links = describe(version, pathlib.Path(prefix), list(map(pathlib.Path, benchmarks)))
    # The same files have the same document, whenever it is written.
    name = uuid.uuid5(uuid.NAMESPACE_URL, "".join(file.checksums[1].value for file in files) + str(packages))
    created = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", 0)), datetime.timezone.utc)
    info = model.CreationInfo("SPDX-2.3", "SPDXRef-DOCUMENT", f"bnorm {version} on {platform.machine()}", f"urn:uuid:{name}",
                              [model.Actor(model.ActorType.TOOL, "bnorm-sbom.py")], created.replace(tzinfo=None))
    write_file(model.Document(info, packages, files, relationships=links), target, validate=False)
    messages = validate_full_spdx_document(parse_file(target))
    for message in messages:
        print(message.validation_message)
    for entry in packages:
        print(f"{entry.name} {entry.version}: {entry.license_concluded}")
    sys.exit(1 if messages else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
