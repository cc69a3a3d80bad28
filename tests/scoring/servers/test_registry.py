import pytest

from penstock.settings import Settings
from scoring.servers.onnx import OnnxServer
from scoring.servers.registry import FALLBACK_SERVER, PRIMARY_SERVER, open_server
from scoring.servers.triton import TritonServer


@pytest.mark.parametrize(("name", "kind"), [(PRIMARY_SERVER, TritonServer), (FALLBACK_SERVER, OnnxServer)])
def test_a_server_is_opened_by_its_name_without_connecting(name, kind):
    server = open_server(name, Settings())
    assert isinstance(server, kind)
    server.close()
