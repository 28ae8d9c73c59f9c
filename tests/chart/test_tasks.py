"""Commands in pods of their own: what starts them, what they run, and what does not render."""

import re

import pytest

from service.__main__ import COMMANDS as OF_THE_SERVICE
from tests.chart.chart import CASES, HELMS, Json, of_kind, one, refused, rendered
from tests.chart.test_refusals import said

#: What each CronJob runs, by the end of its name.
COMMANDS = {
    "migrate": ["migrate"],
    "verify": ["verify"],
    "create-admin": ["create-admin"],
    "import": ["import", "/import"],
    "check-config": ["check-config", "--connect"],
}
REHEARSAL = "tasks.rehearsal.enabled=true"
RESTORED = f"{REHEARSAL},tasks.rehearsal.database.secretName=restored"


def cron_job(name: str, suffix: str, *options: str) -> Json:
    found: Json = one(rendered(name, *options), "CronJob", f"-{suffix}")["spec"]
    return found


def pod(name: str, suffix: str, *options: str) -> Json:
    found: Json = cron_job(name, suffix, *options)["jobTemplate"]["spec"]["template"]["spec"]
    return found


class TestByHand:
    @pytest.mark.parametrize("name", sorted(CASES.keys() - {"bare"}))
    def test_there_is_one_for_each_command_that_needs_no_running_pod(self, name: str) -> None:
        found = of_kind(rendered(name), "CronJob")
        rehearsals = {each for each in found if each.endswith("-rehearsal")}
        assert {each: run_by(found[each]) for each in found.keys() - rehearsals} == {
            named(rendered(name), command): arguments for command, arguments in COMMANDS.items()
        }
        assert {arguments[0] for arguments in COMMANDS.values()} <= OF_THE_SERVICE.keys()

    def test_they_can_be_left_out(self) -> None:
        assert of_kind(rendered("bare"), "CronJob") == {}
        assert of_kind(rendered("minimal", "--set", "tasks.enabled=false"), "NetworkPolicy").keys() == {
            "tradepost", "tradepost-api", "tradepost-migrate", "tradepost-smoke-test", "tradepost-worker"
        }  # fmt: skip

    def test_none_runs_by_itself(self) -> None:
        for each in of_kind(rendered("minimal"), "CronJob").values():
            assert (each["spec"]["suspend"], each["spec"]["schedule"]) == (True, "0 0 1 1 *")

    @pytest.mark.parametrize("name", ["minimal", "everything", "long-name", "external-secret"])
    def test_no_hook_and_nothing_that_a_hook_takes_away(self, name: str) -> None:
        """A person makes Jobs long after the hooks have gone."""
        objects = rendered(name)
        hooks = {
            (each["kind"], each["metadata"]["name"])
            for each in objects
            if any(key.startswith("helm.sh/hook") for key in each["metadata"].get("annotations", {}))
        }
        assert hooks
        for job in of_kind(objects, "CronJob").values():
            assert ("CronJob", job["metadata"]["name"]) not in hooks
            spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            used = {("ServiceAccount", spec["serviceAccountName"])}
            used |= {
                ("Secret", source["secret"]["name"])
                for volume in spec["volumes"]
                for source in volume.get("projected", {}).get("sources", [])
            }
            assert used & hooks == set()

    def test_jobs_are_found_and_end(self) -> None:
        for each in of_kind(rendered("minimal"), "CronJob").values():
            template = each["spec"]["jobTemplate"]
            assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == "tradepost"
            assert template["metadata"]["labels"] == each["metadata"]["labels"]
            assert template["spec"]["ttlSecondsAfterFinished"] >= 86400
            assert template["spec"]["activeDeadlineSeconds"] >= 900
            assert template["spec"]["template"]["spec"]["restartPolicy"] == "Never"

    def test_what_another_try_would_find_too_is_not_tried_again(self) -> None:
        specs = {
            name: cron_job("minimal", name)["jobTemplate"]["spec"] for name in COMMANDS if name != "migrate"
        }
        for name, spec in specs.items():
            assert spec["podFailurePolicy"]["rules"] == [
                {"action": "FailJob",
                 "onExitCodes": {"containerName": name, "operator": "In", "values": [1, 2, 78]}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]  # fmt: skip
        tries = {name: spec["backoffLimit"] for name, spec in specs.items()}
        assert tries == {"verify": 3, "create-admin": 0, "import": 0, "check-config": 0}

    def test_the_migration_is_the_same_as_that_of_a_release(self) -> None:
        for name in ("minimal", "existing-secret"):
            release, by_hand = one(rendered(name), "Job")["spec"], cron_job(name, "migrate")
            ours = by_hand["jobTemplate"]["spec"]
            own, other = (each["template"]["spec"]["containers"] for each in (release, ours))
            assert own == other
            assert release["podFailurePolicy"] == ours["podFailurePolicy"]

    def test_values_of_the_pods_arrive_in_all(self) -> None:
        for name in ("verify", "create-admin", "import", "check-config", "rehearsal"):
            spec = pod("everything", name)
            assert spec["priorityClassName"] == "important"
            assert "/certificates" in {each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}


def named(objects: list[Json], command: str) -> str:
    """A CronJob's name has at most 52 characters, for those of its Jobs have eleven more."""
    component = "app.kubernetes.io/component"
    api = [each for each in objects if each["metadata"]["labels"].get(component) == "api"]
    fullname: str = one(api, "Deployment")["metadata"]["name"]
    return f"{fullname[: 51 - len(command)].removesuffix('-')}-{command}"


def run_by(job: Json) -> list[str]:
    [own, *_] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    found: list[str] = own["args"]
    return found


class TestCreateAdmin:
    def test_the_password_is_in_no_value_and_no_argument(self) -> None:
        """But in a Secret that is there as long as it is needed."""
        for name, expected in (("minimal", "tradepost-create-admin"), ("everything", "new-administrator")):
            spec = pod(name, "create-admin")
            [volume] = [each for each in spec["volumes"] if each["name"] == "secrets"]
            [account] = [
                each["secret"]
                for each in volume["projected"]["sources"]
                if "ADMIN_PASSWORD" in {item["key"] for item in each["secret"]["items"]}
            ]
            items = [{"key": key, "path": key} for key in ("ADMIN_EMAIL", "ADMIN_PASSWORD")]
            assert account == {"name": expected, "items": items}
            assert spec["containers"][0]["args"] == ["create-admin"]


class TestImport:
    @pytest.mark.parametrize(
        ("name", "source"),
        [
            ("minimal", {"configMap": {"name": "tradepost-import"}}),
            ("everything", {"persistentVolumeClaim": {"claimName": "shop-files"}}),
        ],
    )
    def test_it_reads_a_volume(self, name: str, source: Json) -> None:
        spec = pod(name, "import")
        [volume] = [each for each in spec["volumes"] if each["name"] == "import"]
        assert volume == {"name": "import", **source}
        [mount] = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "import"]
        assert mount == {"name": "import", "mountPath": "/import", "readOnly": True}


class TestSchedules:
    def test_verify_runs_every_night_where_it_has_a_time(self) -> None:
        spec = cron_job("everything", "verify")
        keys = ("schedule", "suspend", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds")
        assert {key: spec[key] for key in keys} == {
            "schedule": "30 3 * * *",
            "suspend": False,
            "timeZone": "Europe/Berlin",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
        }
        assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 3)
        others = of_kind(rendered("everything"), "CronJob")
        assert {name for name, each in others.items() if not each["spec"]["suspend"]} == {
            "shop-verify", "shop-rehearsal"
        }  # fmt: skip

    @pytest.mark.parametrize("schedule", ["nightly", "30 3 * *", "30 3 * * * *", "@reboot", "30  3 * * *"])
    @pytest.mark.parametrize("where", ["verify", "rehearsal"])
    def test_what_is_no_schedule_is_refused(self, where: str, schedule: str) -> None:
        message = said(
            refused("--set-string", f"tasks.{where}.schedule={schedule.replace(',', chr(92) + ',')}")
        )
        assert f"at '/tasks/{where}/schedule'" in message

    @pytest.mark.parametrize(
        ("option", "where"),
        [
            ("tasks.timeZone=Europe/Berlin now", "/tasks/timeZone"),
            ("tasks.verify.shedule=x", "/tasks/verify"),
            ("tasks.rehearsal.maxAgeHours=0", "/tasks/rehearsal/maxAgeHours"),
            ("tasks.rehearsal.dump.pattern=$(id)", "/tasks/rehearsal/dump/pattern"),
            ("tasks.rehearsal.dump.size=large", "/tasks/rehearsal/dump/size"),
            ("tasks.rehearsal.database.secretKey=a b", "/tasks/rehearsal/database/secretKey"),
            ("tasks.createAdmin.secretName=My_Secret", "/tasks/createAdmin/secretName"),
            ("tasks.startingDeadlineSeconds=5", "/tasks/startingDeadlineSeconds"),
        ],
    )
    @pytest.mark.parametrize("major", HELMS)
    def test_other_mistakes_are_refused_too(self, major: str, option: str, where: str) -> None:
        assert f"at '{where}'" in said(refused("--set", option, major=major))


class TestRehearsal:
    @pytest.mark.parametrize("name", ["postgresql", "restore", "migrate"])
    def test_a_container_of_yours_has_another_name_than_its_own(self, name: str) -> None:
        """Server-side apply would refuse the CronJob."""
        dumps = f"{REHEARSAL},tasks.rehearsal.dump.volume.persistentVolumeClaim.claimName=dumps"
        also = f'tasks.initContainers=[{{"name":"{name}","image":"a:1"}}]'
        assert f"tasks: container {name} is there twice" in refused("--set", dumps, "--set-json", also)

    def test_there_is_none_unasked(self) -> None:
        assert not any("rehearsal" in name for name in of_kind(rendered("minimal"), "CronJob"))

    def test_a_dump_is_restored_migrated_and_checked_in_one_pod(self) -> None:
        spec = pod("rehearsal", "rehearsal")
        postgresql, restore, migrate = spec["initContainers"]
        [check] = spec["containers"]
        # A sidecar, which ends with the pod's last container.
        assert (postgresql["name"], postgresql["restartPolicy"]) == ("postgresql", "Always")
        assert "listen_addresses=127.0.0.1" in postgresql["args"]
        assert "restartPolicy" not in restore | migrate
        assert (restore["command"][:2], migrate["args"]) == (["/bin/sh", "-ec"], ["migrate"])
        assert "ls -td /dumps/*/shop.dump | head -n 1" in restore["command"][2]
        assert check["args"] == ["verify", "--max-age", "26"]
        assert {each["image"] for each in (postgresql, restore)} == {"registry.shop.example/postgres:18"}
        for each in (migrate, check):
            [url] = [each["value"] for each in each["env"] if each["name"] == "DATABASE_URL"]
            assert url == "postgresql://tradepost@127.0.0.1:5432/tradepost"
        volumes = {each["name"]: each for each in spec["volumes"]}
        assert volumes["dumps"]["persistentVolumeClaim"] == {"claimName": "dumps", "readOnly": True}
        assert volumes["postgresql-data"]["emptyDir"] == {"sizeLimit": "50Gi"}
        paths = {each["name"]: each["mountPath"] for each in postgresql["volumeMounts"]}
        assert paths["postgresql-data"] == "/var/lib/postgresql"

    def test_its_postgresql_sorts_as_all_others_do(self) -> None:
        [given] = [
            each["value"]
            for each in pod("rehearsal", "rehearsal")["initContainers"][0]["env"]
            if each["name"] == "POSTGRES_INITDB_ARGS"
        ]
        assert given == "--encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8"

    def test_a_restored_database_is_migrated_and_checked_where_it_is(self) -> None:
        spec = pod("everything", "rehearsal")
        [migrate] = spec["initContainers"]
        [check] = spec["containers"]
        reference = {
            "name": "DATABASE_URL",
            "valueFrom": {"secretKeyRef": {"name": "restored", "key": "uri"}},
        }
        assert (migrate["args"], check["args"]) == (["migrate"], ["verify", "--max-age", "30"])
        assert [each for each in check["env"] if each["name"] == "DATABASE_URL"] == [reference]
        assert [each for each in migrate["env"] if each["name"] == "DATABASE_URL"] == [reference]
        policy = one(rendered("everything"), "NetworkPolicy", "-rehearsal")["spec"]
        [way] = [rule for rule in policy["egress"] if {"port": 5432, "protocol": "TCP"} in rule["ports"]]
        assert way["to"] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "restored"}}}]

    def test_neither_has_the_way_to_the_database_in_use(self) -> None:
        for name in ("everything", "rehearsal"):
            spec = pod(name, "rehearsal")
            assert not any("projected" in volume for volume in spec["volumes"])
            containers = [*spec["initContainers"], *spec["containers"]]
            assert not any("envFrom" in each for each in containers)
            assert not re.search("(pooler|db).example", str(containers))

    @pytest.mark.parametrize("major", HELMS)
    def test_it_needs_what_was_restored(self, major: str) -> None:
        message = "tasks.rehearsal needs what was restored"
        assert message in refused("--set", REHEARSAL, major=major)
        both = f"{RESTORED},tasks.rehearsal.dump.volume.emptyDir.medium=Memory"
        assert message in refused("--set", both, major=major)

    def test_the_releases_own_secret_is_no_restored_one(self) -> None:
        own = f"{REHEARSAL},tasks.rehearsal.database.secretName"
        for name, secret in (("minimal", "tradepost"), ("existing-secret", "shop-settings")):
            message = refused("--set", f"{own}={secret}", name=name)
            assert f"tasks.rehearsal.database.secretName is {secret}, the release's own Secret" in message

    def test_a_container_of_the_values_comes_before_it(self) -> None:
        """A proxy for the restored database has to be there first."""
        proxy = "tasks.initContainers[0].name=proxy,tasks.initContainers[0].image=proxy:1"
        spec = pod("minimal", "rehearsal", "--set", f"{RESTORED},{proxy}")
        assert [each["name"] for each in spec["initContainers"]] == ["proxy", "migrate"]
