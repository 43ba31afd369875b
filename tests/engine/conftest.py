import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, as for the reference's figures; small networks are also fastest with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
