"""A sparse model as ONNX: another runtime computes the same, from a file as small as the model."""

import pytest
import torch
from torch import nn

import sparselayers as sl

REASON = "the models extra: pip install '.[models]' onnxruntime"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, stride=4)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.fc = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, images):
        x = self.conv(images).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.fc(x).relu().mean(1))


def pruned():
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[torch.rand_like(parameter) < 0.9] = 0
    return model.eval()


@pytest.mark.filterwarnings("ignore")  # of the exporter's own
def test_another_runtime_computes_the_same(tmp_path):
    onnx = pytest.importorskip("onnx", reason=REASON)
    pytest.importorskip("onnxscript", reason=REASON)
    runtime = pytest.importorskip("onnxruntime", reason=REASON)
    dense = pruned()
    model = sl.convert_model(dense, (nn.Conv2d, nn.Linear, nn.MultiheadAttention), "csr").train()
    x = torch.randn(2, 3, 16, 16)
    sizes = []
    for sparse, example in ((True, x), (False, {"images": x})):
        path = tmp_path / f"{sparse}.onnx"
        sl.export_onnx(model, example, path, sparse=sparse)
        onnx.checker.check_model(onnx.load(path), full_check=not sparse)
        session = runtime.InferenceSession(path)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), dense(x), rtol=1e-4, atol=1e-5)
        graph = onnx.load(path).graph
        sizes.append(sum(t.ByteSize() for t in (*graph.initializer, *graph.sparse_initializer)))
        assert bool(graph.sparse_initializer) == sparse
    assert sizes[0] < 0.6 * sizes[1]
    assert model.training


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sparselayers.convert.onnx.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs onnx: pip install onnx onnxscript"):
        sl.export_onnx(pruned(), torch.zeros(1, 3, 16, 16), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
