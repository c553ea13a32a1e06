"""
deploy/stack.swarm.yaml and docs/swarm.md, pasted word by word, on a Swarm of a manager and a worker.

nginx is kept to the worker, whose engine nobody asks: all that lbwatch knows it has by the proxy before the manager.
"""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import images
import pytest
import readme
from daemon import wait_until
from needs import ENGINE_NEEDS, need
from pasting import pasted
from realengine import in_namespace
from swarmnodes import WEB_IMAGE, SwarmNode, SwarmNodes, lacking

pytestmark = pytest.mark.timeout(600)  # the first test may wait for all images

DOCUMENT = "docs/swarm.md"
STACK = "deploy/stack.swarm.yaml"
REGISTRY = "127.0.0.1:1"  # refuses at once, where another one would be waited for
HERE = {"nginx:stable": f"{REGISTRY}/nginx:stable", "traefik/whoami": WEB_IMAGE}
ON_WORKER = """\
    deploy:
      placement:
        constraints:
          - node.role == worker
      endpoint_mode: dnsrr
      # The old one first"""
REQUESTS = """\
while :; do
  curl -s -o /dev/null -m 9 -w "%{http_code}\\n" http://127.0.0.1:8080/
  sleep 0.03
done
"""


class Stack:
    """The nodes, and a checkout to paste in; `paste` is by a shell of the manager's, `paste_on_worker` of the worker's."""

    def __init__(self, nodes: SwarmNodes, *, folder: Path) -> None:
        self.nodes = nodes
        self.folder = folder
        self.worker = nodes.workers[0]
        shutil.copytree(readme.REPOSITORY / "deploy", folder / "deploy")
        stack = folder / STACK
        text = stack.read_text()
        for there, here in {
            **{f"image: {image}": f"image: {here}" for image, here in HERE.items()},
            "    deploy:\n      endpoint_mode: dnsrr\n      # The old one first": ON_WORKER,
            'LBWATCH_COMPAT: ""': 'LBWATCH_COMPAT: ""\n      LBWATCH_RESYNC_INTERVAL: 2s',  # many, in a short time
        }.items():
            assert there in text, there
            text = text.replace(there, here)
        stack.write_text(text)

    def paste(self, text: str, *, at: SwarmNode | None = None) -> str:
        instead = {
            "docker build --target proxy --tag lbwatch:proxy .": "docker image inspect lbwatch:proxy > image.json",
            "stack deploy": "stack deploy --resolve-image never",
            "--image traefik/whoami": f"--no-resolve-image --image {WEB_IMAGE}",
            "http://localhost:8080": f"http://{self.worker.address}:8080",
        }
        environment = {
            "DOCKER_SOCKET_DIR": str(self.nodes.manager.folder),
            "PROXY_IMAGE": f"{REGISTRY}/{images.PROXY}",
        }
        node = at or self.nodes.manager
        return pasted(node, text, folder=self.folder, instead=instead, environment=environment, within=240)

    @property
    def nginx(self) -> str:
        """The id of nginx's container, on the worker."""
        return self.worker.docker("ps", "--quiet", "--filter", "name=demo_nginx")

    def inside(self, *words: str) -> str:
        return self.worker.docker("exec", self.nginx, *words)

    def is_ready(self) -> bool:
        try:
            return self.inside("lbwatch", "health") == "ready"
        except RuntimeError:
            return False

    def addresses(self) -> set[str]:
        """Where the tasks that run are, as the manager says it."""
        return {f"{task.addresses['lbwatch-web']}:80" for task in self.nodes.running("demo_app")}

    def servers(self) -> set[str]:
        """Where nginx's workers send requests, as lbwatch says it."""
        rows = self.inside("lbwatch", "explain").splitlines()
        return {
            match[1] for row in rows if (match := re.match(r"demo_app\S* +web +([\d.]+:80)(?: |$)", row)) is not None
        }

    def wait_in_step(self, number: int) -> None:
        wait_until(
            lambda: (self.servers(), self.addresses()),
            holds=lambda both: both[0] == both[1] and len(both[0]) == number,
            within=60,
            what=f"{number} tasks serve, and nobody else",
            notes=lambda: self.worker.log_of(self.nginx)[-4000:],
        )

    @contextmanager
    def asked(self) -> Iterator[Counter[str]]:
        """Ask nginx all the while; afterwards it holds how often each status was the answer."""
        found: Counter[str] = Counter()
        argv = in_namespace(self.worker.name, ["sh", "-c", REQUESTS])
        with (self.folder / "answers").open("w+") as answers:
            client = subprocess.Popen(argv, stdout=answers, start_new_session=True)
            try:
                yield found
            finally:
                client.terminate()
                client.wait(timeout=10)
            answers.seek(0)
            found.update(answers.read().split())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    need(*ENGINE_NEEDS, *images.NEEDS, "curl", kernel=lacking)
    with SwarmNodes(nodes=2) as nodes:
        nodes.start()
        shared = images.shared_folder(tmp_path_factory.getbasetemp())
        images.load(nodes.manager, shared)
        images.load(nodes.workers[0], shared)
        for node in nodes.nodes:
            node.folder.chmod(0o755)  # as /var/run is: whoever is not root must find the socket in it
            for image in (images.NGINX, images.PROXY):
                node.docker("tag", image, f"{REGISTRY}/{image}")
        stack = Stack(nodes, folder=tmp_path_factory.mktemp("checkout"))
        (start, _, _) = readme.under("A stack to begin with", document=DOCUMENT)
        deploy, ask, *_ = re.split(r"(?=^curl )|(?=^docker service)", start, flags=re.MULTILINE)
        stack.paste(deploy + ask)
        yield stack


def test_nginx_serves_the_tasks_of_all_nodes_by_a_manager_that_is_only_read(stack: Stack) -> None:
    """That is what the file is for: whoever takes the proxy over may read, and start nothing."""
    stack.wait_in_step(3)
    assert {task.node for task in stack.nodes.running("demo_app")} == {node.node_id for node in stack.nodes.nodes}
    post = "import urllib.request as r; print(r.urlopen(r.Request('http://socket-proxy:2375/services/create', b'{}')))"
    with pytest.raises(RuntimeError, match="403"):
        stack.inside("python3", "-c", post)
    (_, explain, _) = readme.under("A stack to begin with", document=DOCUMENT)
    words = stack.paste(explain, at=stack.worker)
    assert len(re.findall(r"^demo_app\.\S+ +web .* \[task demo_app\.\d on node \S+\]$", words, re.MULTILINE)) == 3
    assert "demo_socket-proxy" in words


def test_a_scale_and_an_update_as_the_document_has_them_fail_no_request(stack: Stack) -> None:
    """It is the first thing that anybody tries."""
    stack.wait_in_step(3)
    before = stack.addresses()
    (start, _, _) = readme.under("A stack to begin with", document=DOCUMENT)
    commands = start[start.index("docker service scale") :]
    with stack.asked() as answers:
        stack.paste(commands)
        stack.wait_in_step(5)
        stack.nodes.docker("service", "scale", "demo_app=2")
        stack.wait_in_step(2)
    assert not stack.addresses() & before
    assert set(answers) == {"200"}, answers
    assert answers["200"] > 100


def test_a_label_of_the_service_counts_at_once_and_takes_no_new_task(stack: Stack) -> None:
    """Weights are moved while tasks serve."""
    before = {task.id for task in stack.nodes.running("demo_app")}
    (label,) = readme.under("Labels", document=DOCUMENT)
    stack.paste(label)
    wait_until(
        lambda: stack.inside("cat", "/etc/nginx/conf.d/default.conf").count("weight=3;"),
        holds=lambda count: count == len(before),
        within=30,
        what="each server has the weight",
    )
    assert {task.id for task in stack.nodes.running("demo_app")} == before


def test_a_task_is_drained_by_its_name_and_serves_again(stack: Stack) -> None:
    """Somebody looks into one of them while the others serve."""
    stack.wait_in_step(2)
    rows = stack.inside("lbwatch", "explain").splitlines()
    name = next(row.split()[0] for row in rows if row.startswith("demo_app."))
    stack.inside("lbwatch", "drain", name)
    assert len(stack.servers()) == 1
    stack.inside("lbwatch", "undrain", name)
    stack.wait_in_step(2)


def test_nothing_is_refused_and_no_event_is_missed(stack: Stack) -> None:
    """The proxy lets through all that is asked for; and what a full look finds was told before."""
    stack.inside("lbwatch", "check")
    lines = stack.worker.log_of(stack.nginx).splitlines()
    assert [line for line in lines if '"source": "swarm"' in line and "source.synced" in line]
    assert [line for line in lines if "refused" in line or "source.drifted" in line] == []


def test_a_manager_that_is_away_takes_nobody_out_and_is_followed_again(stack: Stack) -> None:
    """It is the only one, and says where to go; what runs need not wait for it."""
    stack.nodes.docker("service", "scale", "demo_app=4")
    stack.wait_in_step(4)
    known, text = stack.servers(), stack.inside("cat", "/etc/nginx/conf.d/default.conf")
    stack.nodes.manager.kill9()
    try:
        wait_until(lambda: not stack.is_ready(), within=30, what="lbwatch says that it is not in step")
        assert stack.servers() == known
        assert stack.inside("cat", "/etc/nginx/conf.d/default.conf") == text
    finally:
        stack.nodes.manager.start()
    stack.wait_in_step(4)
    wait_until(stack.is_ready, within=60, what="it is in step again", notes=lambda: stack.inside("lbwatch", "check"))


def test_it_is_removed_as_the_document_says(stack: Stack) -> None:
    """Last: nothing of it is left to run."""
    (_, _, remove) = readme.under("A stack to begin with", document=DOCUMENT)
    stack.paste(remove)
    wait_until(
        lambda: [each for node in stack.nodes.nodes for each in node.docker("ps", "--quiet").split()],
        holds=lambda left: left == [],
        within=60,
        what="no container is left",
    )
