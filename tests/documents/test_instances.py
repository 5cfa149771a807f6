"""The object of a process instance with all that is known of it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from msgspec import Raw

from support.builders import at, instance, token
from support.strategies import make_instances, token_sets
from tokctl.documents.instances import decode_instance, decode_status, encode_full_status
from tokctl.model.instance_status import InstanceStatus, derive_status


def there_and_back(status: InstanceStatus) -> InstanceStatus:
    return decode_status(msgspec.json.decode(msgspec.json.encode(encode_full_status(status)), type=dict[str, Raw]))


@given(about=make_instances(), several=token_sets())
def test_what_a_server_says_is_read_back_equal(about, several):
    status = derive_status(about, several)
    assert there_and_back(status) == status


def test_what_was_worked_out_is_not_taken_for_what_the_source_said():
    status = derive_status(instance(), [token(created_at=at(1), updated_at=at(2), completed_at=at(2))])
    fields = msgspec.json.decode(msgspec.json.encode(encode_full_status(status)), type=dict[str, Raw])
    assert decode_instance(fields) == instance()
    assert there_and_back(status).ended_at == at(2)
