import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """The reference's figures were made on one thread, and small networks are fastest so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
