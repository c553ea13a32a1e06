"""docs/recipes.md, pasted word by word: one nginx, one lbwatch, and each recipe on them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
import readme
from compose import NEEDS as COMPOSE_NEEDS
from compose import Compose, compose
from daemon import wait_until
from needs import ENGINE_NEEDS, need
from pasting import pasted
from realengine import RealEngine, in_namespace

pytestmark = pytest.mark.timeout(600)  # the first test waits for all images

DOCUMENT = "docs/recipes.md"
_FILE = re.compile(r"# (\S+\.(?:conf|yaml))\n")
_APP = Path(__file__).resolve().parents[1] / "support" / "deployapp.py"
_AS_WHOAMI = 'CMD ["sh", "-c", "read WHO < /etc/hostname; export WHO=\\"Hostname: $WHO\\"; exec python3 -S /app.py"]'
SLOW = "slow"  # and what a deploy brings
_SLOWLY = """ENTRYPOINT ["sh", "-c", "sleep 4; exec \\"$0\\" \\"$@\\""]"""
VISITS = """\
while :; do
  for method in GET POST; do
    curl -s -o /dev/null -m 9 -w "$method:%{http_code}\\n" -X $method -H 'Host: app.example' http://127.0.0.1:8080/
    sleep 0.05
  done
done
"""


class Kitchen:
    """
    Where the recipes are tried: an engine with nginx, lbwatch and the files of the recipes so far.

    Attributes:
        done: The headings of which every block of commands was pasted.
    """

    def __init__(self, engine: RealEngine, *, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.done: set[str] = set()
        (folder / "sites").mkdir()
        (folder / "lbwatch").symlink_to(readme.REPOSITORY)

    def steps(self, heading: str) -> list[str]:
        """Write the files of a recipe, and return its blocks of commands."""
        steps = []
        for each, language, text in readme.fenced(readme.REPOSITORY / DOCUMENT):
            if each == heading and language == "sh":
                steps.append(text)
            elif each == heading and (match := _FILE.match(text)) is not None:
                (self.folder / match[1]).write_text(text)
        assert steps, heading
        self.done.add(heading)
        return steps

    def paste(self, text: str, *, by: Compose | None = None) -> str:
        here = {"docker build --tag lbwatch lbwatch": "docker image inspect lbwatch > image.json"}
        return pasted(
            self.engine,
            text,
            folder=self.folder,
            instead={**here, **(by.instead if by else {})},
            environment=by.environment if by else None,
        )

    def ask(self, host: str) -> str:
        """Return what nginx answers for a host: the name of the container's host, or the status where it is not 200."""
        argv = ["curl", "-s", "-m", "5", "-w", "\n%{http_code}", "-H", f"Host: {host}", "http://127.0.0.1:8080/"]
        done = subprocess.run(
            in_namespace(self.engine.name, argv), check=False, capture_output=True, text=True, timeout=20
        )
        body, _, status = done.stdout.rpartition("\n")
        return body.strip().removeprefix("Hostname: ") if status == "200" else status

    def ids(self, *names: str) -> set[str]:
        return {self.engine.inspect(name)["Id"][:12] for name in names}

    def wait_served(self, host: str, who: set[str]) -> None:
        wait_until(
            lambda: {self.ask(host) for _ in range(6 * len(who))},
            holds=lambda seen: seen == who,
            within=30,
            what=f"{who} answer for {host}",
            notes=lambda: self.engine.docker("exec", "lbwatch", "lbwatch", "explain"),
        )


@pytest.fixture(scope="module")
def kitchen(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    """The start of all recipes, pasted once."""
    need(*ENGINE_NEEDS, *images.NEEDS, *COMPOSE_NEEDS, "curl")
    engine = real_engine
    engine.clear()
    engine.folder.chmod(0o755)  # as /var/run is: whoever is not root must find the socket in it
    images.load(engine, images.shared_folder(tmp_path_factory.getbasetemp()))
    make_images(engine)
    kitchen = Kitchen(engine, folder=tmp_path_factory.mktemp("recipes"))
    try:
        (start,) = kitchen.steps("The start")
        kitchen.paste(start)
        yield kitchen
    finally:
        engine.clear()
        engine.clear_volumes()


def make_images(engine: RealEngine) -> None:
    """Make what answers as whoami does, websockets too, and a Python that takes its time to start."""
    engine.docker("create", "--name", "bare", images.PYTHON)
    engine.docker("commit", "--change", _SLOWLY, "bare", SLOW)
    engine.docker("cp", str(_APP), "bare:/app.py")
    changes = (_AS_WHOAMI, "EXPOSE 80", "ENV ON_TERM=none LINGER_S=0 WORK_S=0")
    engine.docker("commit", *(word for each in changes for word in ("--change", each)), "bare", images.APP)
    engine.remove("bare")


def test_a_canary_gets_its_part_and_may_become_the_only_one(kitchen: Kitchen) -> None:
    """Whoever reads `one in ten` will look at a dashboard for it."""
    start, count, promote = kitchen.steps("Canary by weight")
    kitchen.paste(start)
    (old,), (new,) = kitchen.ids("web-1"), kitchen.ids("web-2")
    kitchen.wait_served("web.example", {old, new})
    counted = {name: int(number) for number, name in re.findall(r"(\d+) Hostname: (\w+)", kitchen.paste(count))}
    assert sum(counted.values()) == 100
    assert 5 <= counted[new] <= 15
    kitchen.paste(promote)
    assert {kitchen.ask("web.example") for _ in range(10)} == {new}


def test_blue_and_green_are_switched_at_once(kitchen: Kitchen) -> None:
    """The other one must be there to be looked at, and no visitor may see it before."""
    start, switch = kitchen.steps("Blue and green")
    kitchen.paste(start)
    blue, green = kitchen.ids("shop-blue-1"), kitchen.ids("shop-green-1")
    kitchen.wait_served("shop.example", blue)
    kitchen.wait_served("green.shop.example", green)
    assert {kitchen.ask("shop.example") for _ in range(8)} == blue
    kitchen.paste(switch)
    kitchen.wait_served("shop.example", green)
    assert {kitchen.ask("blue.shop.example")} == blue


def test_a_maintenance_page_shows_while_nobody_is_there(kitchen: Kitchen) -> None:
    """A bare 502 looks like a fault; a page with 200 would be kept by search engines."""
    closed, opened = kitchen.steps("A maintenance page")
    wait_until(
        lambda: kitchen.paste(closed),
        holds=lambda seen: "503 Service" in seen and "Retry-After: 60" in seen and "Back in a minute" in seen,
        within=10,
        what="the page, once the new workers are there",
    )
    kitchen.paste(opened)
    kitchen.wait_served("news.example", kitchen.ids("news-1"))
    kitchen.engine.docker("stop", "--time", "1", "news-1")
    kitchen.wait_served("news.example", {"503"})


def test_websockets_get_through(kitchen: Kitchen) -> None:
    """They are what a proxy breaks first."""
    start, question = kitchen.steps("Websockets")
    kitchen.paste(start)
    kitchen.wait_served("chat.example", kitchen.ids("chat-1"))
    assert kitchen.paste(question) == "HTTP/1.1 101 Switching Protocols\n"


def test_a_container_out_of_reach_is_explained_and_connected(kitchen: Kitchen) -> None:
    """The advice has to be the one that helps."""
    start, cure = kitchen.steps("Several networks")
    assert "no-network" in kitchen.paste(start)
    kitchen.paste(cure)
    kitchen.wait_served("api.example", kitchen.ids("api-1"))


def test_two_stacks_share_one_nginx(kitchen: Kitchen) -> None:
    """One comes by the old Compose and one by the new, which name containers differently."""
    (start,) = kitchen.steps("One nginx for two stacks")
    blog, wiki, reload = start.splitlines()
    projects = {"blog": compose("1"), "wiki": compose("2")}
    kitchen.paste(blog, by=projects["blog"])
    kitchen.paste(f"{wiki}\n{reload}", by=projects["wiki"])
    for project, by in projects.items():
        containers = composed(kitchen, f"--project-name {project} --file stack.yaml", "web", by=by)
        assert len(containers) == (2 if project == "blog" else 1)
        kitchen.wait_served(f"{project}.test", containers)


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_deploy_in_compose_fails_no_request(kitchen: Kitchen, version: str) -> None:
    """With programs that are slow to listen and die at once: what most are."""
    by = compose(version)
    start, deploy = kitchen.steps("Deploys without a failed request in Compose")
    kitchen.paste(start, by=by)
    wait_until(
        lambda: kitchen.ask("app.example"),
        holds=lambda seen: "Directory" in seen,
        within=30,
        what="the first two serve",
    )
    old = composed(kitchen, "--file app.yaml", "app", by=by)
    with kitchen.engine.popen(["sh", "-c", VISITS], stdout=subprocess.PIPE, text=True) as visitor:
        try:
            kitchen.paste(f"export IMAGE={SLOW if version == '2' else images.PYTHON}\n{deploy}", by=by)
        finally:
            visitor.terminate()
        answers = visitor.communicate(timeout=10)[0].split()
    assert len(answers) > 20
    assert set(answers) == {"GET:200", "POST:501"}, "the program itself knows no POST"
    new = composed(kitchen, "--file app.yaml", "app", by=by)
    assert (len(old), len(new), old & new) == (2, 2, set())
    kitchen.paste("docker compose --file app.yaml down --timeout 1", by=by)


def composed(kitchen: Kitchen, project: str, service: str, *, by: Compose) -> set[str]:
    """Return the containers of a service, by the beginning of their ids."""
    return {each[:12] for each in kitchen.paste(f"docker compose {project} ps --quiet {service}", by=by).split()}


def test_all_of_it_can_be_removed(kitchen: Kitchen) -> None:
    """The last test: nothing of a trial may be left on a machine."""
    (remove,) = kitchen.steps("Remove everything")
    kitchen.paste(remove, by=compose("2"))
    assert kitchen.engine.docker("container", "ls", "--all", "--quiet") == ""
    assert set(kitchen.engine.docker("network", "ls", "--format", "{{.Name}}").split()) == {"bridge", "host", "none"}
    assert "lbwatch" not in kitchen.engine.docker("volume", "ls", "--quiet")
    headings = {heading for heading, _ in readme.blocks(readme.REPOSITORY / DOCUMENT)}
    assert kitchen.done == headings, "a recipe that nobody tries"
