"""The breakages. Numbers are those of the invariants; the rest are promises of the documentation."""

from __future__ import annotations

from tests.breakages.breakage import Breakage

_AHEAD = "tests/engine/test_write_ahead.py"
_CRASH = "tests/crash/test_crash_points.py"
_DAMAGE = "tests/engine/test_damage.py"
_BIAS = "tests/engine/test_bias.py"
_BIASED = "tests/processes/test_bias.py"
_COMMIT = "tests/engine/test_commit.py"
_FAILING = "tests/engine/test_failing.py"
_DISTRUST = "tests/engine/test_distrust.py"
_BUDGET = "tests/engine/test_budget.py"
_UPDATES = "tests/engine/test_updates.py"
_COMPANY = "tests/engine/test_company.py"
_COMPACTION = "tests/engine/test_compaction.py"
_FORK_IN_C = "tests/engine/test_fork.py::TestInC"
_INTERRUPTS = "tests/processes/test_interrupts.py"
_KEY_LOCK = "tests/engine/test_key_lock.py"
_LIMITS = "tests/engine/test_time_limits.py"
_LOST_FOUND = "tests/engine/test_lost_found.py"
_GATHERING = "tests/engine/test_gathering.py"
_HANDOVER = "tests/engine/test_handover.py"
_SIEVE = "tests/engine/test_sieve.py"
_SPLIT = "tests/engine/test_split.py"
_MAINTENANCE = "tests/engine/test_maintenance.py"
_OPERATIONS = "tests/engine/test_operations.py"
_REBOOT = "tests/engine/test_reboot.py"
_RECOVER = "tests/engine/test_recover.py"
_REPAIR = "tests/engine/test_repair.py"
_RESURRECTION = "tests/engine/test_resurrection.py"
_SYNC = "tests/engine/test_sync.py"
_REFUSALS = "tests/engine/test_refusals.py"
_VALUES = "tests/django/test_values.py"

_DURABLE = (
    Breakage(
        "threads-not-synced",
        'durability "always"',
        "stratakv/sync.py",
        "                    if gathering.join(wish):\n                        self._lead(wanted)\n",
        "                    gathering.join(wish)\n                    return\n",
        (f"{_SYNC}::TestLevels::test_always",),
    ),
    Breakage(
        "threads-apart",
        "threads share a write and a sync",
        "stratakv/group.py",
        "                    end = self._committer.commit(held, [put.write for put in puts])\n",
        "                    for put in puts:\n"
        "                        end = self._committer.commit(held, [put.write])\n",
        (f"{_SYNC}::TestLevels::test_waiting_together_costs_one_write_and_one_sync",),
    ),
    Breakage(
        "woken-thread-not-left-out",
        "a thread that was interrupted keeps nobody waiting",
        "stratakv/gathering.py",
        " if wish.thread != main and not wish.is_left]",
        " if wish.thread != main]",
        (f"{_GATHERING}::test_one_that_was_interrupted_while_it_was_served_keeps_nobody_waiting",),
    ),
    Breakage(
        "interrupted-thread-wakes-nobody",
        "a thread that was interrupted keeps nobody waiting",
        "stratakv/gathering.py",
        "            wish.pass_on()  # where",
        "            pass  # where",
        (f"{_GATHERING}::test_one_that_is_interrupted_when_it_was_served_passes_on",),
    ),
    Breakage(
        "leader-gone",
        "a thread that was interrupted keeps nobody waiting",
        "stratakv/gathering.py",
        "        if not woken and self._leader and self._leader.is_left:",
        "        if False:",
        (f"{_GATHERING}::test_a_leader_that_never_gets_to_leave_keeps_nobody_waiting",),
    ),
    Breakage(
        "leaving-not-said",
        "a thread that was interrupted keeps nobody waiting",
        "stratakv/sync.py",
        "                    wish.is_left = True  # by itself",
        "                    pass  # by itself",
        ("tests/processes/test_interrupts.py::test_a_leader_that_cannot_leave_keeps_nobody_waiting",),
    ),
    Breakage(
        "main-thread-in-a-row",
        "nobody waits for a signal handler",
        "stratakv/gathering.py",
        "        main = threading.main_thread().ident\n",
        "        main = 0\n",
        (f"{_GATHERING}::test_the_main_thread_keeps_nobody_waiting",),
    ),
    Breakage(
        "done-from-the-first-on",
        "a thread that wakes by itself keeps nobody waiting",
        "stratakv/gathering.py",
        "for wish in reversed(done):",
        "for wish in done:",
        (f"{_GATHERING}::test_one_that_wakes_by_itself_while_the_leader_is_interrupted",),
    ),
    Breakage(
        "woken-all-at-once",
        "threads wake one another in a row",
        "stratakv/gathering.py",
        "for wish in (*of_main, *row[:1]):",
        "for wish in (*of_main, *row):",
        (f"{_GATHERING}::test_they_are_woken_one_after_the_other",),
    ),
    Breakage(
        "processes-apart",
        "processes share a sync",
        "stratakv/company.py",
        "patient and expected > 1 and self._wanting(synced) < expected",
        "False",
        (f"{_COMPANY}::test_the_last_of_those_expected_does_not_wait",),
    ),
    Breakage(
        "processes-not-woken",
        "who waits for a sync goes on when it has ended",
        "stratakv/company.py",
        "            self._files.wake_at(words, W_SYNCS)\n",
        "",
        (f"{_COMPANY}::test_who_comes_while_another_one_syncs_sleeps_until_it_has_ended",),
    ),
    Breakage(
        "occasional-company-expected",
        "who writes all the time does not wait for who comes now and then",
        "stratakv/company.py",
        'min(words[W_COUNTS].to_bytes(_COUNTS, "little"))',
        "words[W_COUNTS] & 0xFF",
        (f"{_COMPANY}::test_company_is_expected_once_it_is_usual",),
    ),
    Breakage(
        "sleeps-without-a-second-look",
        "a sync that has ended is not slept through",
        "stratakv/company.py",
        "from here on wakes others\n                continue\n",
        "from here on wakes others\n",
        (f"{_COMPANY}::test_a_sync_that_ends_just_when_its_lock_is_found_taken",),
    ),
    Breakage(
        "greenlets-held-up",
        "greenlets go on while one waits for a sync",
        "stratakv/processes.py",
        "if not isinstance(time.sleep, BuiltinFunctionType) or not _futex",
        "if not _futex",
        (f"{_COMPANY}::TestSleeping::test_greenlets_go_on_meanwhile",),
    ),
    Breakage(
        "processes-wait-for-the-dead",
        "nobody waits for a process that does not come",
        "stratakv/company.py",
        "            patient = words[W_SYNCS] != syncs  # not",
        "            # not",
        (f"{_COMPANY}::test_who_has_waited_for_a_moment_goes_without_the_others",),
    ),
    Breakage(
        "main-thread-in-company",
        "nobody depends on a thread that signals may end",
        "stratakv/group.py",
        "        if thread == self._main or ",
        "        if ",
        (f"{_SYNC}::TestLevels::test_the_main_thread_writes_for_itself",),
    ),
    Breakage(
        "message-under-the-lock",
        "nobody waits for who handles a message",
        "stratakv/installing.py",
        "        self.messages.append((level, message, arguments))",
        '        logging.getLogger("stratakv").log(level, message, *arguments)',
        ("tests/engine/test_locks.py::test_who_handles_a_message_holds_nobody_up",),
    ),
    Breakage(
        "view-that-threads-slice",
        "without the GIL, threads share nothing that they may not",
        "stratakv/segment.py",
        "    return memoryview(log) if has_gil else log",
        "    return memoryview(log)",
        ("tests/engine/test_operations.py::test_without_the_gil_threads_share_no_view",),
    ),
    Breakage(
        "write-behind-a-close",
        "no write without the lock",
        "stratakv/writer_lock.py",
        "        if self.lock.fd < 0:\n            raise ClosedError(",
        "        if False:\n            raise ClosedError(",
        (f"{_COMMIT}::test_a_transaction_that_outlives_its_store_writes_nothing",),
    ),
    Breakage(
        "busy-forgotten-behind-a-close",
        "no write without the lock",
        "stratakv/writer_lock.py",
        "        if self.lock.fd >= 0 and HERE[0] and self._turn.locked():",
        "        if HERE[0] and self._turn.locked():",
        (f"{_COMMIT}::test_an_empty_transaction_that_outlives_its_store_leaves_others_alone",),
    ),
    Breakage(
        "half-done-and-settled",
        "2: who finds a commit half done mends it first",
        "stratakv/writer_lock.py",
        "            except InvalidValueError:",
        "            except BaseException:",
        (f"{_COMMIT}::test_a_failed_write_is_as_if_it_never_was",),
    ),
    Breakage(
        "failed-and-left-there",
        "what was not acknowledged does not come back",
        "stratakv/commit.py",
        "            self._files.clear(active.fd, offset, active.end)\n",
        "            pass\n",
        (f"{_FAILING}::test_a_full_disk[reboot-10-group]",),
    ),
    Breakage(
        "put-not-synced",
        'durability "always"',
        "stratakv/sync.py",
        "                files.fdatasync(segment.fd)\n",
        "                pass\n",
        (f"{_SYNC}::TestLevels::test_always",),
    ),
    Breakage(
        "manifest-not-synced",
        "5: the manifest is durable before it is visible",
        "stratakv/directory.py",
        "            self.files.write_all(fd, data, 0)\n            self.files.fdatasync(fd)\n",
        "            self.files.write_all(fd, data, 0)\n",
        (f"{_CRASH}::test_all_sequences[1-store]",),
    ),
    Breakage(
        "manifest-directory-not-synced",
        "5: the manifest is durable before it is visible",
        "stratakv/directory.py",
        "            self.files.fdatasync(fd)\n        self.sync()\n",
        "            self.files.fdatasync(fd)\n",
        (f"{_CRASH}::test_all_sequences[1-store]",),
    ),
    Breakage(
        "segment-directory-not-synced",
        "5: what a manifest names is durable before it",
        "stratakv/structure.py",
        "            self.directory.sync()\n            written =",
        "            written =",
        (f"{_SYNC}::TestNewFiles::test_a_new_segment_is_durable_before_it_is_named",),
    ),
    Breakage(
        "merged-log-not-synced",
        "5: what a manifest names is durable before it",
        "stratakv/rewrite.py",
        "        self.flush()\n        self._join()\n        self._sync()\n        self._join()\n",
        "        self.flush()\n        self._join()\n",
        (f"{_CRASH}::test_all_sequences[1-store]",),
    ),
    Breakage(
        "merged-index-not-synced",
        "5: what a manifest names is durable before it",
        "stratakv/maintenance/output.py",
        "            files.fdatasync(self._index_file.fileno())\n",
        "            pass\n",
        (f"{_COMPACTION}::test_what_the_manifest_names_is_on_disk_with_its_name",),
    ),
    Breakage(
        "merge-directory-not-synced",
        "5: what a manifest names is durable before it",
        "stratakv/maintenance/merge.py",
        "        directory.sync()\n",
        "",
        (f"{_COMPACTION}::test_what_the_manifest_names_is_on_disk_with_its_name",),
    ),
    Breakage(
        "inputs-removed-before-the-manifest",
        "5: files go after the manifest without them is durable",
        "stratakv/maintenance/merge.py",
        "            before_install()\n",
        "            before_install()\n"
        "            for segment in job.inputs:\n"
        "                self._structure.directory.remove(segment.number)\n",
        (f"{_COMPACTION}::test_the_manifest_is_durable_before_files_go",),
    ),
    Breakage(
        "cleared-files-removed-before-the-manifest",
        "5: files go after the manifest without them is durable",
        "stratakv/structure.py",
        "        edit = Edit(drop=sealed, floor=rank_of(self.control.words[W_NEXT]))\n",
        "        edit = Edit(drop=sealed, floor=rank_of(self.control.words[W_NEXT]))\n"
        "        for number in sealed:\n"
        "            self.directory.remove(number)\n",
        (f"{_COMMIT}::TestRotation::test_clear",),
    ),
    Breakage(
        "half-done-manifest-not-synced",
        "5: nothing is promised upon a manifest that was renamed and no more",
        "stratakv/installing.py",
        "Whatever is promised from now on depends on it.\n        self.directory.sync()\n",
        "Whatever is promised from now on depends on it.\n",
        (f"{_SYNC}::TestFailure::test_of_the_directory_behind_a_manifest",),
    ),
    Breakage(
        "eviction-not-synced",
        "nothing goes for what a power cut may take",
        "stratakv/maintenance/tasks.py",
        "self._merger.run(view, what, blocks, before_install=self._sync)",
        "self._merger.run(view, what, blocks)",
        (f"{_BUDGET}::TestBudget::test_what_goes_waits_for_what_is_not_on_disk",),
    ),
    Breakage(
        "sweep-not-synced",
        "nothing goes for what a power cut may take",
        "stratakv/maintenance/tasks.py",
        "self._merger.run(view, job, blocks, before_install=self._sync)",
        "self._merger.run(view, job, blocks)",
        (f"{_MAINTENANCE}::test_nothing_is_swept_for_what_a_power_cut_may_take",),
    ),
    Breakage(
        "drop-not-synced",
        "nothing goes for what a power cut may take",
        "stratakv/maintenance/tasks.py",
        "        self._sync()\n        with self._writer_lock.hold() as held:\n",
        "        with self._writer_lock.hold() as held:\n",
        (f"{_MAINTENANCE}::test_nothing_is_dropped_for_what_a_power_cut_may_take",),
    ),
    Breakage(
        "failed-sync-tried-again",
        "6: a failed sync is not repeated",
        "stratakv/sync.py",
        "                words[W_POISONED] = segment.number\n                self._give_up(segment.number)\n",
        "",
        (f"{_SYNC}::TestFailure::test_it_is_remembered",),
    ),
    Breakage(
        "time-limit-poisons",
        "what a signal handler raises is no failed sync",
        "stratakv/sync.py",
        "                check_refused(cause)\n",
        "",
        (f"{_LIMITS}::test_a_time_limit_leaves_as_itself",),
    ),
    Breakage(
        "time-limit-wrapped",
        "what a signal handler raises is no answer of the kernel's",
        "stratakv/errors.py",
        "        check_refused(cause)\n",
        "        pass\n",
        (f"{_LIMITS}::test_a_time_limit_leaves_as_itself",),
    ),
    Breakage(
        "time-limit-let-pass",
        "what a signal handler raises is let pass nowhere",
        "stratakv/interrupted.py",
        "        return is_refused(error)\n",
        "        return isinstance(error, OSError)\n",
        (f"{_LIMITS}::test_a_time_limit_leaves_as_itself",),
    ),
    Breakage(
        "time-limit-deletes-an-entry",
        "an entry is not removed for what a signal handler raises",
        "stratakv_django/codec.py",
        "        if is_from_a_signal(error):\n            raise\n",
        "",
        ("tests/django/test_interruptions.py::test_an_entry_that_takes_too_long_is_no_bad_one",),
    ),
    Breakage(
        "time-limit-tolerated",
        "what a signal handler raises is no storage error",
        "stratakv_django/tolerance.py",
        "        if is_from_a_signal(error):\n            return False\n",
        "",
        ("tests/django/test_interruptions.py::test_a_limit_while_the_disk_is_slow_is_no_error_of_the_disk",),
    ),
    Breakage(
        "failed-log-written-on",
        "6: after a failed sync, writing goes on in a new log",
        "stratakv/sync.py",
        "                self._give_up(segment.number)\n",
        "",
        (f"{_SYNC}::TestFailure::test_of_the_active_log",),
    ),
    Breakage(
        "poisoned-log-synced-by-maintenance",
        "6: a failed sync is not repeated",
        "stratakv/maintenance/finish.py",
        "    poisoned = structure.is_poisoned(segment.number)\n",
        "    poisoned = False\n",
        (f"{_SYNC}::TestFailure::test_maintenance_does_not_try_again",),
    ),
    Breakage(
        "poison-known-to-maintenance-alone",
        "6: a failed sync is not repeated, whatever else fails",
        "stratakv/maintenance/finish.py",
        "                words[W_POISONED] = segment.number\n",
        "                pass\n",
        (f"{_REFUSALS}::test_a_sync_that_failed_in_maintenance_is_not_repeated",),
    ),
    Breakage(
        "poison-in-the-place-of-another",
        "6: a failed sync is not forgotten, whatever else fails",
        "stratakv/maintenance/finish.py",
        "            if structure.is_given_up(words[W_POISONED]):\n",
        "            if True:\n",
        (f"{_REFUSALS}::test_maintenance_does_not_forget_the_failed_sync_of_a_writer",),
    ),
    Breakage(
        "poison-forgotten-when-sealed",
        "6: a failed sync is not forgotten, whatever else fails",
        "stratakv/structure.py",
        "            poisoned=words[W_POISONED] == old.number,  # by one who could not go on to give it up\n",
        "            poisoned=False,\n",
        (f"{_REFUSALS}::test_a_log_whose_sync_failed_is_sealed_as_such",),
    ),
    Breakage(
        "refusal-taken-for-an-answer",
        "9: the logs rebuild the store",
        "stratakv/files.py",
        "                # IMPORTANT: it is no answer. Whoever took it for one would cut what stands there.\n"
        "                raise\n",
        "                return end\n",
        (f"{_REFUSALS}::test_a_recovery_that_cannot_ask_for_holes_cuts_nothing",),
    ),
)

# The steps 2 and 3 of a single put.
_PUT_TIP = "                            words[W_TIP] = end  # 2 tip\n"
_PUT_SLOTS = _PUT_TIP + (
    "                            place = first % size\n"
    "                            tag = first & FINGERPRINT\n"
    "                            while slot := slots[place]:  # 3 slots\n"
    "                                slot ^= tag\n"
    "                                if slot <= OFFSET_MASK and takes_over(active, slot, key):\n"
    "                                    break\n"
    "                                place += 1\n"
    "                                if place == size:\n"
    "                                    place = 0\n"
    "                            else:\n"
    "                                active.bloom[first % active.word_count] |= "
    "PATTERNS[second & PATTERN_MASK]\n"
    "                                used += 1\n"
    "                                if view.ghosts is not None and view.ghosts.recall(first):\n"
    "                                    active.hot[place] = 1\n"
    "                            slots[place] = tag | start\n"
)

_COMMITS = (
    Breakage(
        "tip-before-log",
        "2: log, tip, slots, indexed",
        "stratakv/commit.py",
        "            self._files.write_all(active.fd, data, start)  # 1 log\n",
        "            words[W_TIP] = end\n"
        "            self._files.write_all(active.fd, data, start)  # 1 log\n",
        (f"{_COMMIT}::test_a_failed_write_is_as_if_it_never_was", f"{_CRASH}::test_all_sequences[1-store]"),
    ),
    Breakage(
        "tip-before-log-in-a-put",
        "2: log, tip, slots, indexed",
        "stratakv/commit.py",
        "                            mapped, behind = active.log, start + PREFIX_BYTES\n",
        "                            mapped, behind = active.log, start + PREFIX_BYTES\n"
        "                            words[W_TIP] = end\n",
        (f"{_AHEAD}::test_death_while_a_record_is_stored",),
    ),
    Breakage(
        "stored-beyond-the-zeros",
        "a full disk is an error",
        "stratakv/commit.py",
        "                    if end <= ahead and active.mapped_writes:\n",
        "                    if active.mapped_writes:\n",
        (f"{_AHEAD}::test_a_long_record_is_written_once",),
    ),
    Breakage(
        "reserved-once-for-ever",
        "a full disk is an error",
        "stratakv/commit.py",
        "                if self._reserved != reserved:",
        "                if not self._reserved:",
        (f"{_AHEAD}::test_blocks_are_reserved_once_for_many_zeros_and_anew_in_the_next_segment",),
    ),
    Breakage(
        "zeros-of-another-time",
        "a full disk is an error",
        "stratakv/control.py",
        "        self.words[W_AHEAD] = 0\n",
        "        pass\n",
        (f"{_AHEAD}::test_zeros_of_another_time_are_not_relied_on",),
    ),
    Breakage(
        "stored-where-blocks-move",
        "a full disk is an error",
        "stratakv/files.py",
        "        return file_system in _IN_PLACE and",
        "        return",
        (f"{_AHEAD}::test_a_store_could_find_the_disk_full",),
    ),
    Breakage(
        "slots-before-tip-in-a-batch",
        "2: log, tip, slots, indexed",
        "stratakv/commit.py",
        "        words[W_TIP] = end  # 2 tip\n"
        "        for key, first, second, body, _ in writes:  # 3 slots\n"
        "            insert(words, active, key, first, second, start, held.view.ghosts)\n"
        "            start += PREFIX_BYTES + len(body)\n",
        "        for key, first, second, body, _ in writes:\n"
        "            insert(words, active, key, first, second, start, held.view.ghosts)\n"
        "            start += PREFIX_BYTES + len(body)\n"
        "        words[W_TIP] = end\n",
        (f"{_COMMIT}::test_death_between_the_slots",),
    ),
    Breakage(
        "slot-before-tip-in-a-put",
        "2: log, tip, slots, indexed",
        "stratakv/commit.py",
        _PUT_SLOTS,
        _PUT_SLOTS.removeprefix(_PUT_TIP) + _PUT_TIP,
        (f"{_COMMIT}::test_death_inside_one_slot",),
    ),
    Breakage(
        "slot-before-bloom",
        "2: what is in a slot is in the filter",
        "stratakv/indexing.py",
        "    segment.bloom[first % segment.word_count] |= PATTERNS[second & PATTERN_MASK]\n"
        "    if ghosts is not None and ghosts.recall(first):\n"
        "        segment.hot[place] = 1\n"
        "    slots[place] = tag | offset\n",
        "    if ghosts is not None and ghosts.recall(first):\n"
        "        segment.hot[place] = 1\n"
        "    slots[place] = tag | offset\n"
        "    segment.bloom[first % segment.word_count] |= PATTERNS[second & PATTERN_MASK]\n",
        (f"{_COMMIT}::test_death_inside_one_slot", f"{_COMMIT}::test_an_older_version_does_not_show_instead"),
    ),
    Breakage(
        "no-busy-in-a-put",
        "2: a death inside a commit is noticed",
        "stratakv/commit.py",
        "                        words[W_BUSY] = 1\n",
        "",
        (f"{_COMMIT}::test_death_inside_one_slot",),
    ),
    Breakage(
        "no-busy-in-a-batch",
        "2: a death inside a commit is noticed",
        "stratakv/writer_lock.py",
        "        words[W_BUSY] = 1\n        words[W_TURNS]",
        "        words[W_TURNS]",
        (f"{_COMMIT}::test_death_between_the_slots",),
    ),
    Breakage(
        "busy-not-asked",
        "2: a death inside a commit is noticed",
        "stratakv/commit.py",
        "if alone and fits and generation == view.generation and not busy:",
        "if alone and fits and generation == view.generation:",
        (f"{_COMMIT}::test_death_inside_one_slot",),
    ),
    Breakage(
        "update-of-what-is-no-longer-there",
        "what depends on a record is written only while that is the newest",
        "stratakv/commit.py",
        "                    if since and since != (tip, words[W_TURNS]):\n"
        "                        return 0\n",
        "",
        (f"{_UPDATES}::TestSomebodyElseWasFirst",),
    ),
    Breakage(
        "update-after-an-eviction",
        "what depends on a record is written only while that is there",
        "stratakv/writer_lock.py",
        "        words[W_TURNS] += 1\n",
        "",
        (
            f"{_UPDATES}::TestSomebodyElseWasFirst::test_a_transaction_that_wrote_nothing",
            f"{_UPDATES}::TestSomebodyElseWasFirst::test_an_eviction",
        ),
    ),
    Breakage(
        "update-after-waiting",
        "what depends on a record is written only while that is the newest",
        "stratakv/commit.py",
        "        if since:\n            return 0\n        with self.hold() as held:\n",
        "        with self.hold() as held:\n",
        (f"{_UPDATES}::test_somebody_writes_while_a_segment_has_to_be_begun",),
    ),
    Breakage(
        "update-beside-a-commit",
        "what depends on a record is written only while that is the newest",
        "stratakv/commit.py",
        "        return None if words[W_BUSY] or",
        "        return None if",
        (
            f"{_UPDATES}::test_another_process_is_between_tip_and_slot",
            f"{_COMMIT}::test_what_is_not_indexed_is_not_missing",
        ),
    ),
    Breakage(
        "batch-seen-in-part",
        "a batch is atomic",
        "stratakv/writer.py",
        "                if not self._words[W_BUSY]:  # else a batch may have come in part\n"
        "                    return verdict\n",
        "                return verdict\n",
        (f"{_UPDATES}::test_a_batch_is_not_seen_in_part",),
    ),
    Breakage(
        "merge-beyond-the-log",
        "7: every length that comes from disk is bounded",
        "stratakv/maintenance/blocks.py",
        "            if end > limit:\n                raise _damaged(segment, offset)\n"
        "            source = log if end - offset <= _COPIED_BYTES else view\n"
        "            body = source[offset + PREFIX_BYTES : end]\n"
        "            if xxh3_64_intdigest(body) != checksum:\n"
        "                raise _damaged(segment, offset)\n"
        "            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))\n"
        "            taken",
        "            source = log if end - offset <= _COPIED_BYTES else view\n"
        "            body = source[offset + PREFIX_BYTES : end]\n"
        "            if xxh3_64_intdigest(body) != checksum:\n"
        "                raise _damaged(segment, offset)\n"
        "            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))\n"
        "            taken",
        (f"{_DISTRUST}::TestInputs::test_a_record_that_says_it_is_longer_than_the_log",),
    ),
    Breakage(
        "not-cut-behind-the-tip",
        "what was not acknowledged does not come back",
        "stratakv/writer_lock.py",
        "            self._files.clear(active.fd, tip, active.end)\n",
        "            pass\n",
        (f"{_COMMIT}::test_a_stale_tail_is_never_replayed",),
    ),
    Breakage(
        "chain-not-healed",
        "2: what was not indexed is entered",
        "stratakv/indexing.py",
        "        words[W_CHAIN] = found.checksum & LINK_MASK\n        offset = found.end\n",
        "        offset = found.end\n",
        (f"{_COMMIT}::test_death_between_the_slots",),
    ),
    Breakage(
        "tip-before-generation",
        "who sees a new tip looks for its segment",
        "stratakv/installing.py",
        "        words[W_GENERATION] = found.generation\n"
        "        if begun is not None and words[W_TIP] >> OFFSET_BITS != found.active:\n"
        "            self.control.set_active(found.active, *begun.filled())\n",
        "        if begun is not None and words[W_TIP] >> OFFSET_BITS != found.active:\n"
        "            self.control.set_active(found.active, *begun.filled())\n"
        "        words[W_GENERATION] = found.generation\n",
        (f"{_COMMIT}::TestRotation::test_death_as_soon_as_others_may_see_the_tip",),
    ),
    Breakage(
        "number-used-twice",
        "a number is that of one segment for ever",
        "stratakv/installing.py",
        "        number = max(words[W_NEXT], self.view.manifest.next_number)\n",
        "        number = self.view.manifest.next_number\n",
        (f"{_COMPACTION}::test_writes_meanwhile_are_newer",),
    ),
    Breakage(
        "batch-of-single-commits",
        "a batch is atomic",
        "stratakv/writer.py",
        "            last = 0 if left else COMMIT\n",
        "            last = COMMIT\n",
        (f"{_RECOVER}::TestDamage::test_a_batch_that_lost_its_end", f"{_REBOOT}::test_a_torn_tail"),
    ),
    Breakage(
        "locks-kept-by-a-child",
        "a forked child holds none of its parent's locks",
        "stratakv/store.py",
        "        self._attach_lock.close()\n        self.committer.close()\n"
        "        self.syncer.lock.close()\n        self.maintenance.begin_process()\n",
        "        self.maintenance.begin_process()\n",
        ("tests/processes/test_together.py::test_a_forked_child_keeps_no_lock_of_a_parent_that_was_killed",),
    ),
    Breakage(
        "lock-kept-as-a-signal-comes",
        "others write on, whatever a signal ends",
        "stratakv/interrupted.py",
        "        if turn._is_owned() and not inside:\n            turn.release()\n",
        "",
        (f"{_INTERRUPTS}::test_a_lock_that_is_taken_as_a_signal_comes",),
    ),
    Breakage(
        "file-left-open-as-a-signal-comes",
        "no file stays open, whatever a signal ends",
        "stratakv/open_file.py",
        'return next(map(OpenFile, map(call, *zip(arguments, strict=True)), ("r+",)))',
        'return OpenFile(call(*arguments), "r+")',
        (f"{_INTERRUPTS}::test_nobody_is_held_up",),
    ),
    Breakage(
        "writer-lock-kept-as-a-signal-comes",
        "others write on, whatever a signal ends",
        "stratakv/commit.py",
        "                _thread.start_new_thread(self._let_go, (turn,))  # which no signal interrupts\n"
        "            raise\n        if since:",
        "                pass\n            raise\n        if since:",
        (f"{_INTERRUPTS}::test_a_lock_that_is_taken_as_a_signal_comes",),
    ),
    Breakage(
        "fork-in-c-not-noticed-by-a-put",
        "writers take turns, also those that were forked without Python",
        "stratakv/commit.py",
        "        if not HERE[0]:\n            notice()\n        structure, turn",
        "        structure, turn",
        (f"{_FORK_IN_C}::test_what_a_thread_of_the_parent_holds",),
    ),
    Breakage(
        "fork-in-c-not-noticed-by-a-batch",
        "writers take turns, also those that were forked without Python",
        "stratakv/writer_lock.py",
        "        if not HERE[0]:\n            notice()\n        turn, begun",
        "        turn, begun",
        (f"{_FORK_IN_C}::test_whatever_comes_first_leaves_the_parents_locks",),
    ),
    Breakage(
        "fork-in-c-not-noticed-by-a-sync",
        "who syncs waits for nobody that is not there",
        "stratakv/sync.py",
        "        if not HERE[0]:\n            notice()\n",
        "",
        (f"{_FORK_IN_C}::test_what_a_thread_of_the_parent_holds",),
    ),
    Breakage(
        "fork-in-c-not-noticed-in-company",
        "who syncs waits for nobody that is not there",
        "stratakv/group.py",
        "        if not HERE[0]:\n            notice()\n",
        "",
        (f"{_FORK_IN_C}::test_what_a_thread_of_the_parent_holds",),
    ),
    Breakage(
        "fork-in-c-not-noticed-by-a-compaction",
        "who compacts waits for nobody that is not there",
        "stratakv/maintenance/work.py",
        "        notice()\n        self._writer_lock.check_outside()",
        "        self._writer_lock.check_outside()",
        (f"{_FORK_IN_C}::test_what_a_thread_of_the_parent_holds",),
    ),
    Breakage(
        "locks-of-before-gevent",
        "no process stops for ever",
        "stratakv/forks.py",
        "    _begin()\n\n\nHERE[0] = 1",
        "    _begin()\n    HERE[0] = 1\n\n\nHERE[0] = 1",
        ("tests/processes/test_greenlets.py::test_greenlets_of_a_process_that_was_forked_with_a_store",),
    ),
    Breakage(
        "compaction-inside-a-transaction",
        "nobody waits for whoever waits for them",
        "stratakv/maintenance/work.py",
        "        self._writer_lock.check_outside()",
        "",
        ("tests/engine/test_transactions.py::test_it_does_not_wait_for_whoever_maintains_the_store",),
    ),
    Breakage(
        "buffer-measured-before-it-is-copied",
        "7: a record is as long as it says",
        "stratakv/writer.py",
        "            value = bytes(value)  # not by",
        "            pass  # not by",
        ("tests/engine/test_bad_input.py::test_a_buffer_that_another_thread_makes_longer_meanwhile",),
    ),
    Breakage(
        "fork-in-c-not-noticed-at-a-new-view",
        "a lookup waits for nobody",
        "stratakv/views.py",
        "        notice()\n        return under(self._refreshing, self._refresh)",
        "        return under(self._refreshing, self._refresh)",
        (f"{_FORK_IN_C}::test_what_a_thread_of_the_parent_holds",),
    ),
    Breakage(
        "fork-in-c-not-noticed-at-the-end",
        "a child frees none of its parent's locks",
        "stratakv/open_stores.py",
        "    notice()\n    for store in list",
        "    for store in list",
        (f"{_FORK_IN_C}::test_whatever_comes_first_leaves_the_parents_locks",),
    ),
)

_READING = (
    Breakage(
        "record-without-checksum",
        "3: a record is believed only with its checksum",
        "stratakv/record.py",
        "    if stop > end or xxh3_64_intdigest(view[offset + PREFIX_BYTES : stop]) != checksum:\n",
        "    if stop > end:\n",
        ("tests/engine/test_record.py::test_every_flipped_bit_is_noticed",),
    ),
    Breakage(
        "get-without-checksum",
        "3: a record is believed only with its checksum",
        "stratakv/reader.py",
        "                        if xxh3_64_intdigest(data[offset + PREFIX_BYTES : end]) != checksum:\n",
        "                        if False:\n",
        (f"{_DAMAGE}::test_a_damaged_record_is_a_miss",),
    ),
    Breakage(
        "merge-without-checksum-in-order",
        "3: damage is not copied on",
        "stratakv/maintenance/blocks.py",
        "            body = source[offset + PREFIX_BYTES : end]\n"
        "            if xxh3_64_intdigest(body) != checksum:\n"
        "                raise _damaged(segment, offset)\n"
        "            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))\n"
        "            offset = end\n",
        "            body = source[offset + PREFIX_BYTES : end]\n"
        "            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))\n"
        "            offset = end\n",
        (f"{_MAINTENANCE}::test_damage_is_not_copied_on",),
    ),
    Breakage(
        "merge-without-checksum-of-short-records",
        "3: damage is not copied on",
        "stratakv/maintenance/blocks.py",
        "            if xxh3_64_intdigest(body) != checksum:\n"
        "                raise _damaged(segment, offset)\n"
        "            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))\n"
        "            taken",
        "            block.append((log[start : start + key_bytes], body, offset, checksum, expiry, 0))\n"
        "            taken",
        (f"{_MAINTENANCE}::test_damage_is_not_copied_on",),
    ),
    Breakage(
        "merge-without-checksum-in-order-of-arrival",
        "3: damage is not copied on",
        "stratakv/maintenance/blocks.py",
        "key, body = data[HEADER_BYTES:start], data[PREFIX_BYTES:size]\n"
        "            if xxh3_64_intdigest(body) != checksum:\n",
        "key, body = data[HEADER_BYTES:start], data[PREFIX_BYTES:size]\n            if False:\n",
        (f"{_MAINTENANCE}::test_damage_is_not_copied_on",),
    ),
    Breakage(
        "older-version-for-a-damaged-one",
        "3: a lookup ends at damage",
        "stratakv/reader.py",
        "!= checksum:\n                                return self._again(segment, offset, key, default)\n",
        "!= checksum:\n                                break\n",
        (f"{_DAMAGE}::test_a_damaged_record_is_a_miss",),
    ),
    Breakage(
        "damaged-one-not-deleted",
        "3: what was deleted stays so, also where it was damaged then, and is mended",
        "stratakv/writer.py",
        "            if not found and not self._reader.is_lost(self._structure.current(), key):\n",
        "            if not found:\n",
        (f"{_DAMAGE}::test_what_is_deleted_stays_so_when_it_is_mended",),
    ),
    Breakage(
        "damaged-key-is-another-one",
        "3: a damaged key may be the one that is looked for",
        "stratakv/lookup.py",
        "            if (whole or not mine) and xxh3",
        "            if whole and xxh3",
        (f"{_DISTRUST}::TestInputs::test_a_damaged_record_may_be_of_any_key_that_leads_to_it",),
    ),
    Breakage(
        "older-version-for-a-damaged-one-of-many",
        "3: a lookup ends at damage",
        "stratakv/reader.py",
        "                    return self.find(self._views.current(), key) if healed else None\n",
        "                    if healed:\n"
        "                        return self.find(self._views.current(), key)\n"
        "                    continue\n",
        (f"{_DAMAGE}::test_a_damaged_record_is_a_miss",),
    ),
    Breakage(
        "length-not-bounded",
        "7: every length from disk is bounded",
        "stratakv/record.py",
        "    if stop > end or xxh3_64",
        "    if xxh3_64",
        ("tests/engine/test_record.py::test_a_record_cut_short_is_none",),
    ),
    Breakage(
        "index-shape-not-compared",
        "7: every length from disk is bounded",
        "stratakv/index.py",
        " or not shape.slots or not shape.words or shape.size != size:\n",
        ":\n",
        ("tests/engine/test_index.py::test_a_header_that_does_not_fit_is_refused",),
    ),
    Breakage(
        "sealed-index-not-checked",
        "8: an index is checked before it is trusted",
        "stratakv/opening.py",
        "    if not mapped or not index.is_sound(segment.arrays, entry.size):\n",
        "    if not mapped:\n",
        (f"{_DAMAGE}::TestIndexes",),
    ),
    Breakage(
        "closed-index-not-checked",
        "8: an index is checked before it is trusted",
        "stratakv/resume.py",
        "    if not index.is_sound(arrays, tip) or arrays",
        "    if arrays",
        (f"{_DAMAGE}::TestIndexes",),
    ),
    Breakage(
        "page-believed-after-a-reboot",
        "8: after a reboot nothing in CONTROL is believed",
        "stratakv/control.py",
        " and (words[W_BOOT_HIGH] << 64 | words[W_BOOT_LOW]) == boot\n",
        "\n",
        (f"{_REBOOT}::test_a_torn_tail",),
    ),
    Breakage(
        "manifest-checksum-not-compared",
        "a damaged manifest is noticed",
        "stratakv/manifest.py",
        "    if title.removeprefix(_TITLE) != xxh3_64_hexdigest(body.encode()):\n",
        "    if False:\n",
        ("tests/engine/test_manifest.py::test_every_flipped_bit_is_noticed",),
    ),
    Breakage(
        "ghosts-without-header",
        "7: a table of ghosts is one of its size",
        "stratakv/opening.py",
        "    return found if found.is_sound() else None\n",
        "    return found\n",
        ("tests/engine/test_ghosts.py::test_a_file_that_is_no_table_is_not_asked",),
    ),
    Breakage(
        "index-not-healed",
        "an index that leads nowhere is made anew",
        "stratakv/reader.py",
        "        if self._views.heal(segment):\n            return True\n",
        "",
        (f"{_REPAIR}::test_a_slot_that_leads_nowhere_heals_by_itself",),
    ),
    Breakage(
        "killed-index-not-remade",
        "8: what a killed process leaves is compared with the log",
        "stratakv/resume.py",
        "    return not write or _remake(words, segment, tip)\n",
        "    return True\n",
        (
            f"{_DAMAGE}::TestIndexes",
            "tests/engine/test_flips.py::test_no_flip_gives_a_wrong_value[killed-.idx]",
        ),
    ),
    Breakage(
        "older-control-believed",
        "8: what a killed process leaves is compared with the log",
        "stratakv/resume.py",
        "    if write and segment.record_at(tip):\n",
        "    if False:\n",
        (f"{_REBOOT}::test_a_file_system_that_lost_what_was_not_synced",),
    ),
    Breakage(
        "older-manifest-believed",
        "an older manifest is no store",
        "stratakv/resume.py",
        "    if 0 < words[W_GENERATION] - found.generation <= MOST_AHEAD and not words[W_BUSY]:\n",
        "    if False:\n",
        (f"{_REPAIR}::test_an_older_manifest_is_not_believed",),
    ),
    Breakage(
        "verify-without-filter",
        "verify compares the index with the log",
        "stratakv/soundness.py",
        "    if not segment.may_have(first, second):\n        return False\n",
        "",
        (f"{_DAMAGE}::TestIndexes::test_verify_asks_the_filter_too",),
    ),
    Breakage(
        "verify-without-lookup",
        "verify compares the index with the log",
        "stratakv/soundness.py",
        "        if not _leads_to(found, key, offset):\n",
        "        if False:\n",
        (f"{_REPAIR}::test_an_index_is_made_anew_for_everybody",),
    ),
    Breakage(
        "verify-without-wrong-slots",
        "verify compares the index with the log",
        "stratakv/soundness.py",
        "    wrong = _misleading(found)\n",
        "    wrong: list[int] = []\n",
        ("tests/engine/test_flips_open.py::test_verify_finds_every_flip",),
    ),
    Breakage(
        "repair-uncovers-older-versions",
        "3: a lost record hides older versions on",
        "stratakv/repair.py",
        "        hidden = sorted(_keys_for(segment, lost, view.older_than(segment)))\n",
        "        hidden: list[bytes] = []\n",
        (f"{_REPAIR}::test_what_is_lost_is_a_miss_for_good",),
    ),
    Breakage(
        "repair-keeps-nothing",
        "what repair takes out is in lost+found",
        "stratakv/repair.py",
        "        kept = lost_found.link(segment.path.name)\n",
        "        kept = None\n",
        (f"{_REPAIR}::test_what_is_lost_is_a_miss_for_good",),
    ),
    Breakage(
        "many-without-tip",
        "get_many shows one moment",
        "stratakv/reader.py",
        "                    if segment is active and offset >= tip:\n                        return None\n",
        "",
        (f"{_OPERATIONS}::TestMany::test_get_many_shows_one_moment",),
    ),
    Breakage(
        "scan-beyond-its-tip",
        "a scan shows the moment it began",
        "stratakv/scan.py",
        "    sources = [(view.active, _young(view.active, end, first, damaged))]\n",
        "    late = (r for _ in (0,) for r in _young(view.active, snapshots.take()[1], first, damaged))\n"
        "    sources = [(view.active, late)]\n",
        ("tests/engine/test_scan.py",),
    ),
    Breakage(
        "expiry-in-seconds-when-stored",
        "a ttl is in seconds, an expiry in milliseconds",
        "stratakv/arguments.py",
        "int((time.time() + ttl) * 1000)",
        "int(time.time() * 1000 + ttl)",
        (f"{_OPERATIONS}::TestExpiry",),
    ),
    Breakage(
        "expiry-in-seconds-when-read",
        "a ttl is in seconds, an expiry in milliseconds",
        "stratakv/reader.py",
        "expiry <= time.time() * 1000",
        "expiry <= time.time()",
        (f"{_OPERATIONS}::TestExpiry",),
    ),
)

_AGES = (
    Breakage(
        "tombstone-dropped-early",
        "4: a tombstone hides older versions",
        "stratakv/maintenance/merge.py",
        "            elif is_older(key):\n",
        "            elif expiry != TOMBSTONE_EXPIRY and is_older(key):\n",
        (f"{_RESURRECTION}::test_merged_in_any_order",),
    ),
    Breakage(
        "expired-record-dropped-early",
        "4: an expired record hides older versions",
        "stratakv/maintenance/merge.py",
        "            elif is_older(key):\n",
        "            elif expiry == TOMBSTONE_EXPIRY and is_older(key):\n",
        (f"{_RESURRECTION}::test_expired_in_a_middle_generation",),
    ),
    Breakage(
        "range-tombstone-forgotten",
        "4: a range tombstone hides older versions",
        "stratakv/maintenance/merge.py",
        "    ranges = range_prefixes(inputs) if older else ()\n",
        "    ranges = ()\n",
        (
            f"{_RESURRECTION}::test_deleted_by_range_then_put_again",
            f"{_RESURRECTION}::test_merged_in_any_order",
        ),
    ),
    Breakage(
        "range-tombstone-not-asked",
        "4: a range tombstone hides older versions",
        "stratakv/maintenance/merge.py",
        "        return without(blocks, prefixes) if prefixes else blocks\n",
        "        return blocks\n",
        (
            f"{_RESURRECTION}::test_deleted_by_range_then_put_again",
            f"{_RESURRECTION}::test_merged_in_any_order",
        ),
    ),
    Breakage(
        "sieve-believed-unseen",
        "8: a sieve is verified before it is trusted",
        "stratakv/opening.py",
        "    if found.is_sound():\n        return found\n",
        "    if found.table:\n        return found\n",
        (f"{_SIEVE}::test_a_damaged_one_is_not_used_and_made_anew",),
    ),
    Breakage(
        "sieve-of-lost-slots",
        "8: a sieve is made of indexes that hold all that their logs do",
        "stratakv/maintenance/sift.py",
        "            if not index.is_sound(segment.arrays, segment.end):\n",
        "            if not segment.arrays:\n",
        (f"{_SIEVE}::test_a_damaged_index_is_made_anew_first",),
    ),
    Breakage(
        "sieve-of-another-store",
        "a sieve knows the indexes that it was made of, and no others of their numbers",
        "stratakv/lookup.py",
        "    return sieve.lanes.get((segment.number, segment.arrays.header[W_CHECKSUM]), 0)\n",
        "    return {number: bit for (number, _), bit in sieve.lanes.items()}.get(segment.number, 0)\n",
        (
            f"{_SIEVE}::test_that_of_another_store_is_not_asked",
            f"{_SIEVE}::test_an_older_copy_is_put_back",
        ),
    ),
    Breakage(
        "sieve-disorders-segments",
        "4: newer segments are asked before older ones",
        "stratakv/lookup.py",
        "            if bit > last:  # the lanes are in the order of the segments, too\n",
        "            if bit:\n",
        (f"{_SIEVE}::test_segments_are_asked_in_their_order",),
    ),
    Breakage(
        "sieve-hides-the-active-segment",
        "a sieve knows nothing of the segment that is being written",
        "stratakv/lookup.py",
        "    if sieve is None or segment.entry is None:\n",
        "    if sieve is None:\n",
        (f"{_SIEVE}::test_the_active_segment_is_always_asked",),
    ),
    Breakage(
        "sieve-hides-new-segments",
        "what a sieve does not know is asked itself",
        "stratakv/lookup.py",
        "if not bit or byte & bit])\n",
        "if byte & bit])\n",
        (f"{_SIEVE}::test_everything_is_found_as_segments_come_and_go",),
    ),
    Breakage(
        "sieve-known-by-its-inode",
        "what was not sound is not remembered of what takes its place",
        "stratakv/views.py",
        "            which = found.st_ino, found.st_mtime_ns\n",
        "            which = found.st_ino, 0\n",
        (f"{_SIEVE}::test_a_sound_one_in_the_place_of_a_damaged_one_is_used",),
    ),
    Breakage(
        "split-forgets-what-was-read",
        "what of an oversized segment was read stays",
        "stratakv/maintenance/split.py",
        "(self._first_hot if item[5] else self._first_cold)",
        "self._first_cold",
        (f"{_SPLIT}::test_what_was_read_since_stays",),
    ),
    Breakage(
        "split-moves-what-is-hidden",
        "4: only a current version moves",
        "stratakv/maintenance/tasks.py",
        "        blocks = current(view, segment, self._merger.whole(view, segment))\n",
        "        blocks = self._merger.whole(view, segment)\n",
        (f"{_SPLIT}::TestWhatIsHidden::test_it_is_not_moved",),
    ),
    Breakage(
        "split-parts-of-lowest-rank",
        "4: parts hide what they were made from, and what is newer hides them",
        "stratakv/maintenance/split.py",
        "return ranks_of_parts(segment.header.newest, following.header.oldest, parts)\n",
        "return range(following.header.newest + 1, following.header.newest + 1 + parts)\n",
        (f"{_SPLIT}::TestWhatIsHidden", f"{_SPLIT}::test_each_large_segment_is_split"),
    ),
    Breakage(
        "split-ranks-halved",
        "a split that is broken off loses nothing by that",
        "stratakv/budget.py",
        "(free // 2 if free // 2 >= parts else free)",
        "free // 2",
        (f"{_SPLIT}::TestWhereItEndsEarly::test_by_being_stopped_again_and_again",),
    ),
    Breakage(
        "read-ahead-not-checked-again",
        "3: a record is believed for its checksum when its value is read",
        "stratakv/scan.py",
        "checksum_of(segment.view[record.offset + PREFIX_BYTES : record.end]) == record.checksum:",
        "record:",
        ("tests/engine/test_scan.py::test_what_is_damaged_meanwhile_is_left_out",),
    ),
    Breakage(
        "oversized-counted-by-writers",
        "an oversized segment does not count for the limits",
        "stratakv/structure.py",
        " + self.oversized_bytes(found)\n",
        "\n",
        (f"{_SPLIT}::TestRoom",),
    ),
    Breakage(
        "young-when-the-budget-comes",
        "what nobody has counted reads of is not young",
        "stratakv/structure.py",
        'else [replace(entry, kind="main") for entry in segments])',
        "else segments)",
        (f"{_SPLIT}::test_each_large_segment_is_split",),
    ),
    Breakage(
        "damaged-one-kept-young",
        "a damaged young segment does not cost what is older",
        "stratakv/maintenance/plan.py",
        '            return Task("adopt", (young[-1].number,))\n        return Task("retire"',
        '            return Task("evict", (main[-1].number,))\n        return Task("retire"',
        ("tests/engine/test_plan.py::TestDamage::test_a_young_one_comes_of_age_unread",),
    ),
    Breakage(
        "young-version-goes-and-uncovers",
        "4: what is evicted hides the older version, where there is one",
        "stratakv/maintenance/evict.py",
        "                if hides:\n",
        "                if not hides:\n",
        (_RESURRECTION, f"{_BUDGET}::TestBudget"),
    ),
    Breakage(
        "replaced-version-moves",
        "4: only a current version moves",
        "stratakv/maintenance/evict.py",
        "        return is_current(newer, key, heat)\n",
        "        return True\n",
        (f"{_RESURRECTION}::test_a_replaced_version_does_not_move_over_a_newer_main_one",),
    ),
    Breakage(
        "heat-lost-with-a-version",
        "what is read and written again stays within a budget",
        "stratakv/maintenance/evict.py",
        "                    heat, hides = self._taken_over(older, item[0])\n",
        "                    self._taken_over(older, item[0])\n",
        (f"{_BUDGET}::TestBudget::test_what_is_read_and_written_again_stays",),
    ),
    Breakage(
        "removed-store-written-to",
        "a store that was removed does not damage the one in its place",
        "stratakv/views.py",
        "        if not self.in_place():\n",
        "        if self.view is None:\n",
        ("tests/engine/test_removed.py",),
    ),
    Breakage(
        "clear-without-floor",
        "9: what was cleared stays away without a manifest",
        "stratakv/structure.py",
        "Edit(drop=sealed, floor=rank_of(self.control.words[W_NEXT]))",
        "Edit(drop=sealed)",
        (f"{_RECOVER}::test_what_was_cleared_stays_away",),
    ),
    Breakage(
        "taken-over-records-unseen",
        "who sees a new generation sees what its segment began with",
        "stratakv/snapshots.py",
        "            return (view, view.active.begun()) if words[W_TIP] == tip else None\n",
        "            return view, view.active.start\n",
        (f"{_HANDOVER}::test_a_writer_dies_before_others_may_see_the_tip",),
    ),
    Breakage(
        "taken-over-without-commit",
        "2: what the next writer finds below the tip is there",
        "stratakv/handover.py",
        "found.kind | COMMIT",
        "found.kind",
        (f"{_HANDOVER}::test_what_is_not_deleted_is_handed_over",),
    ),
    Breakage(
        "taken-over-without-tombstones",
        "4: newer segments hide older ones",
        "stratakv/handover.py",
        "if not found.key.startswith(prefix))",
        "if not found.key.startswith(prefix) and found.expiry != 1)",
        (f"{_HANDOVER}::test_what_is_not_deleted_is_handed_over",),
    ),
    Breakage(
        "begun-log-called-written",
        "a writer that died as it began a segment is no damage",
        "stratakv/segment.py",
        "-self.header.ranges - self.header.taken, HEADER_BYTES\n",
        "-self.header.ranges, HEADER_BYTES\n",
        (f"{_HANDOVER}::test_a_writer_that_died_on_the_way_is_no_damage",),
    ),
    Breakage(
        "begun-log-left",
        "9: without a manifest, what was begun in vain hides nothing",
        "stratakv/installing.py",
        "        self._remove_begun(found)\n",
        "",
        (f"{_HANDOVER}::test_a_segment_that_was_begun_in_vain_hides_nothing_that_comes_after",),
    ),
    Breakage(
        "taken-over-with-its-own-rank-alone",
        "9: a log that was replaced stays away without a manifest",
        "stratakv/structure.py",
        "(old.header.oldest, old.header.began) if old",
        "(rank_of(number), old.header.began) if old",
        (f"{_HANDOVER}::test_the_log_that_was_replaced_comes_to_light_again",),
    ),
    Breakage(
        "budget-not-kept-by-writers",
        "the budget holds without maintenance",
        "stratakv/structure.py",
        "        if not found.max_bytes:\n            return []\n",
        "        if found:\n            return []\n",
        (f"{_BUDGET}::TestBudget::test_it_is_kept_without_maintenance",),
    ),
)

_RECOVERY = (
    Breakage(
        "replayed-past-a-bad-link",
        "a stale tail is not replayed",
        "stratakv/record.py",
        " and record.link == link:\n",
        ":\n",
        (f"{_REBOOT}::test_old_bytes_behind_the_end_are_not_replayed",),
    ),
    Breakage(
        "younger-segments-kept",
        "what survives is a prefix",
        "stratakv/recovery/run.py",
        "                broken = verdict if verdict.ends_history else None\n",
        "",
        (f"{_REBOOT}::test_sealed_segments_that_were_not_synced",),
    ),
    Breakage(
        "salvage-up-to-the-break",
        "salvage keeps every sound record",
        "stratakv/recovery/salvage.py",
        "        if found.kind != END\n    ]\n",
        "        if found.kind != END and found.end <= examined.whole\n    ]\n",
        (f"{_RECOVER}::TestDamage::test_salvage",),
    ),
    Breakage(
        "unfinished-log-believed",
        "9: the logs alone rebuild the store",
        "stratakv/recovery/survey.py",
        "    if not _ends(segment):\n        return False\n",
        "",
        (f"{_RECOVER}::TestWithoutAManifest::test_an_unfinished_log_whose_sources_are_there",),
    ),
    Breakage(
        "replaced-log-believed",
        "9: the logs alone rebuild the store",
        "stratakv/recovery/survey.py",
        " if not any(_replaces(other, entry) for other in above)]\n",
        "]\n",
        (f"{_RECOVER}::test_what_was_merged_is_not_there_twice",),
    ),
    Breakage(
        "strict-changes-something",
        '"strict" changes nothing',
        "stratakv/recovery/verdict.py",
        "        if damage and self._mode is Mode.STRICT:\n",
        "        if False:\n",
        (f"{_RECOVER}::TestDamage::test_strict",),
    ),
    Breakage(
        "break-in-the-middle-is-a-torn-tail",
        "a lost manifest hides no damage",
        "stratakv/recovery/verdict.py",
        "        unknown = not newest and not entry.size and found.last > found.whole\n",
        "        unknown = False\n",
        (f"{_RECOVER}::TestWithoutAManifest",),
    ),
    Breakage(
        "kept-log-not-synced",
        "what recovery keeps is on disk before its manifest",
        "stratakv/recovery/renewal.py",
        "header.pack(), 0)\n            self._files.fdatasync(segment.fd)\n",
        "header.pack(), 0)\n",
        (f"{_LOST_FOUND}::TestOrder::test_the_steps",),
    ),
    Breakage(
        "cut-before-the-manifest",
        "a recovery that dies can be done again",
        "stratakv/recovery/renewal.py",
        "        with reported(segment.path):\n            if examined.header_damaged or",
        "        self._cut(examined)\n"
        "        with reported(segment.path):\n            if examined.header_damaged or",
        (f"{_LOST_FOUND}::TestOrder::test_the_steps",),
    ),
    Breakage(
        "lost-found-skipped",
        "what recover takes out is in lost+found",
        "stratakv/recovery/put_away.py",
        "judged = [self._log(verdict) for verdict in verdicts]\n",
        "judged = verdicts\n",
        (f"{_LOST_FOUND}::TestWhatIsPutAway",),
    ),
    Breakage(
        "lost-found-not-synced",
        "lost+found is durable before anything goes",
        "stratakv/recovery/put_away.py",
        "            self._lost_found.sync()\n",
        "",
        (f"{_LOST_FOUND}::TestOrder::test_the_steps",),
    ),
    Breakage(
        "lost-found-copy-not-synced",
        "lost+found is durable before anything goes",
        "stratakv/lost_found.py",
        "offset - start)\n                self._files.fdatasync(fd)\n",
        "offset - start)\n",
        (f"{_LOST_FOUND}::TestOrder::test_the_steps",),
    ),
    Breakage(
        "lost-found-without-limit",
        "lost+found takes no more than its share of a budget",
        "stratakv/lost_found.py",
        "        if size > self._room:\n            return False\n",
        "",
        (f"{_LOST_FOUND}::TestAfterAReboot::test_only_up_to_an_eighth_of_the_budget",),
    ),
    Breakage(
        "rescue-goes-back-in-time",
        "a cache is begun anew rather than brought back to an older state",
        "stratakv/rescue.py",
        "        recovery = recover_alone(directory, Mode.STRICT)\n",
        "        recovery = recover_alone(directory, Mode.POINT_IN_TIME)\n",
        ("tests/engine/test_rescue.py::test_it_is_begun_anew_rather_than_go_back_in_time",),
    ),
)

_LOCKS = (
    Breakage(
        "bias-whosever-it-is",
        "no write without the lock",
        "stratakv/commit.py",
        "alone = whose == word and (word or (self.records + 1) % LOOK)",
        "alone = word or (self.records + 1) % LOOK",
        (f"{_BIAS}::test_whoever_comes_takes_it_away", f"{_BIASED}::test_bursts_of_four_processes"),
    ),
    Breakage(
        "word-not-set",
        "no write while another process is inside by its word",
        "stratakv/commit.py",
        "                        words[word] = 1  #",
        "                        pass  #",
        (f"{_BIASED}::test_who_comes_waits_for_one_that_is_stopped_inside",),
    ),
    Breakage(
        "word-not-waited-for",
        "no write while another process is inside by its word",
        "stratakv/bias.py",
        "                time.sleep(next(pause))\n",
        "                break\n",
        (f"{_BIASED}::test_who_comes_waits_for_one_that_is_stopped_inside",),
    ),
    Breakage(
        "word-not-cleared",
        "others write on, whatever a signal ends",
        "stratakv/commit.py",
        "                    elif word == bias.word:",
        "                    elif not begun:",
        (f"{_BIAS}::test_a_signal_inside_lets_go_of_it",),
    ),
    Breakage(
        "processors-not-caught-up",
        "no write while another process is inside by its word",
        "stratakv/bias.py",
        "        self._files.barrier()\n",
        "",
        (f"{_BIAS}::test_the_processors_catch_up_between_the_mark_and_the_look",),
    ),
    Breakage(
        "bias-free-before-the-wait",
        "no write while another process is inside by its word",
        "stratakv/bias.py",
        "        words[W_BIAS] = number + _TAKEN_AWAY\n",
        "        words[W_BIAS] = 0\n",
        (f"{_BIAS}::test_whoever_is_interrupted_as_it_waits_leaves_the_waiting_to_the_next",),
    ),
    Breakage(
        "barriers-without-taking-part",
        "no write while another process is inside by its word",
        "stratakv/processes.py",
        "        return _membarrier(_JOIN)\n",
        "        return _membarrier(_BARRIER)\n",
        (f"{_BIAS}::test_who_has_it_takes_part_in_barriers",),
    ),
    Breakage(
        "word-of-a-parent-cleared",
        "a child frees none of its parent's locks",
        "stratakv/commit.py",
        "                    elif word == bias.word:",
        "                    else:",
        (f"{_BIASED}::test_a_child_that_is_forked_inside_leaves_the_word_to_its_parent",),
    ),
    Breakage(
        "waiting-behind-a-close",
        "no write without the lock",
        "stratakv/bias.py",
        "            if self.lock.fd < 0:\n",
        "            if False:\n",
        (f"{_BIAS}::test_a_close_ends_the_waiting",),
    ),
    Breakage(
        "word-of-the-dead-waited-for",
        "others write on when a process dies",
        "stratakv/bias.py",
        "while words[number] == 1 and self._lives(number):",
        "while words[number] == 1:",
        (f"{_BIAS}::test_the_word_of_a_process_that_died_inside_is_not_waited_for",),
    ),
    Breakage(
        "bias-of-a-parent",
        "a forked child holds none of its parent's locks",
        "stratakv/bias.py",
        "        self.word = 0\n        # The number",
        '        self.word = getattr(self, "word", 0)\n        # The number',
        (f"{_BIASED}::test_a_child_does_not_have_it",),
    ),
    Breakage(
        "bias-file-of-a-parent",
        "a forked child holds none of its parent's locks",
        "stratakv/writer_lock.py",
        "        self.bias.lock.close()  #",
        "        pass  #",
        (f"{_BIASED}::test_a_child_that_does_nothing_keeps_nobody_waiting",),
    ),
    Breakage(
        "locks-of-all-keys-in-one",
        "locks on different keys have nothing to do with each other",
        "stratakv/key_lock.py",
        "hash_key(key)[0] >> 2",
        "1",
        (f"{_KEY_LOCK}::test_a_key_and_its_lock_have_nothing_to_do_with_each_other",),
    ),
    Breakage(
        "forked-child-keeps-a-lock",
        "a lock on a key is free when its process dies",
        "stratakv/key_lock.py",
        "    for file in list(_files):\n        file.let_go()",
        "    pass",
        (f"{_KEY_LOCK}::test_a_child_that_is_forked_while_a_thread_waits_does_not_keep_it",),
    ),
    Breakage(
        "values-made-by-all",
        "get_or_set calls a function once",
        "stratakv_django/single_flight.py",
        "                taken = wanted.acquire(blocking=False)\n",
        "                taken = True\n",
        ("tests/django/test_single_flight.py::test_processes_make_a_value_once",),
    ),
)

_DJANGO = (
    Breakage(
        "signature-not-compared",
        "a planted pickle is not run",
        "stratakv_django/codec.py",
        "        if compare_digest(_signature(signer, name, pickled), stored[1:_BODY]):\n",
        "        if signer:\n",
        (f"{_VALUES}::test_an_unsigned_pickle_is_never_unpickled",),
    ),
    Breakage(
        "signature-without-the-key",
        "a pickle is good for its key only",
        "stratakv_django/codec.py",
        '    digest.update(len(name).to_bytes(4, "little") + name)\n',
        "",
        (f"{_VALUES}::test_a_signed_pickle_cannot_be_moved_to_another_key",),
    ),
    Breakage(
        "no-fallbacks",
        "SECRET_KEY_FALLBACKS are accepted",
        "stratakv_django/codec.py",
        "(settings.SECRET_KEY, *fallbacks)",
        "(settings.SECRET_KEY,)",
        (f"{_VALUES}::test_secret_key_fallbacks_are_accepted_on_reading_only",),
    ),
)

BREAKAGES = (*_DURABLE, *_COMMITS, *_READING, *_AGES, *_RECOVERY, *_LOCKS, *_DJANGO)
