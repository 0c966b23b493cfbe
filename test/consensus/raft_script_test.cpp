/// Scripts of a few replicas in test/data/raft: commands, a line of dashes, and what happens then.
///
///   nodes 1 2 3 [learners 4] [small]   a new group, with one entry a message if that is small;
///                              add 4: a node that is not in it
///   tick N [COUNT]             time passes on a node; run N: until it does something about it
///   campaign N                 an election at once
///   propose N TEXT             member N add-learner|add-voter|remove M
///   transfer N M               quorum N: asks whether it still leads
///   persist N                  its oldest write reaches the disk
///   deliver [A>B]              what is under way now, in order; drop [A>B] loses it
///   settle                     writes and messages until there are none; calm: without a word
///   crash N, start N           lose N COUNT: the disk of a node that is down forgets its last
///   entries trim N KEEP                gives up all that is applied but KEEP entries state of all
///   nodes
///
/// SENTINEL_REWRITE=1 writes what happens into the files, to be reviewed like code.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "test/support/raft_cluster.h"

namespace sentinel::consensus {
namespace {

using test::RaftCluster;

class Script {
 public:
  /// What a command leads to, a line each.
  std::string run(const std::string& line) {
    out_.clear();
    words_ = std::istringstream(line);
    const std::string name = word();
    if (name == "nodes") {
      make();
    } else {
      REQUIRE_MESSAGE(cluster_ != nullptr, "a script begins with nodes");
      execute(name);
    }
    return std::move(out_);
  }

 private:
  std::string word() {
    std::string text;
    words_ >> text;
    return text;
  }
  MemberId node() { return MemberId(std::stoi(word())); }

  void make() {
    std::vector<MemberId> voters;
    std::vector<MemberId> learners;
    RaftCluster::Options options;
    std::vector<MemberId>* to = &voters;
    for (std::string each = word(); !each.empty(); each = word()) {
      if (each == "learners") {
        to = &learners;
      } else if (each == "small") {
        options.message_bytes_max = 1;
      } else {
        to->push_back(MemberId(std::stoi(each)));
      }
    }
    cluster_ = std::make_unique<RaftCluster>(voters, learners, options);
    cluster_->on_event = [this](MemberId, const std::string& text) { say(text); };
  }

  void execute(const std::string& name) {
    if (name == "add") return cluster_->add_node(node());
    if (name == "tick" || name == "run") return tick(name == "run");
    if (name == "campaign") return act([](Raft& raft) { raft.campaign(); });
    if (name == "propose") return propose();
    if (name == "member") return change_members();
    if (name == "transfer") return transfer();
    if (name == "quorum") return act([this](Raft& raft) { ask(raft); });
    if (name == "persist") return persist();
    if (name == "deliver" || name == "drop") return move_messages(name == "deliver", word());
    if (name == "settle") return settle();
    if (name == "calm") return calm();
    if (name == "crash") return cluster_->crash(node());
    if (name == "lose") return lose();
    if (name == "start") return cluster_->start(node());
    if (name == "trim") return trim();
    if (name == "state") return state();
    FAIL("unknown command " << name);
  }

  void say(const std::string& text) {
    if (!silent_) out_ += text + "\n";
  }
  void act(const std::function<void(Raft&)>& what) {
    const MemberId id = node();
    what(cluster_->raft(id));
    cluster_->collect(id);
  }
  void refused(Errc error) { say(fmt::format("refused: {}", to_string(error))); }

  void tick(bool until_it_runs) {
    const MemberId id = node();
    const std::string count = word();
    Raft& raft = cluster_->raft(id);
    const std::string_view before = raft.role_name();
    for (int left = until_it_runs ? 1000 : count.empty() ? 1 : std::stoi(count); left > 0; --left) {
      raft.tick();
      cluster_->collect(id);
      if (until_it_runs && raft.role_name() != before) break;
    }
  }
  void lose() {
    const MemberId id = node();
    cluster_->lose(id, std::stoi(word()));
  }
  void propose() {
    const MemberId id = node();
    Raft& raft = cluster_->raft(id);
    const auto place = raft.propose({.payload = core::Bytes::copy(word())});
    if (!place) refused(place.error());
    cluster_->collect(id);
  }
  void change_members() {
    const MemberId id = node();
    const std::string what = word();
    using Kind = ConfigurationChange::Kind;
    const Kind kind = what == "add-learner" ? Kind::add_learner
                      : what == "add-voter" ? Kind::add_voter
                                            : Kind::remove;
    const auto place = cluster_->raft(id).propose({.kind = kind, .node = node()});
    if (!place) refused(place.error());
    cluster_->collect(id);
  }
  void transfer() {
    const MemberId id = node();
    const auto begun = cluster_->raft(id).transfer_to(node());
    if (!begun) refused(begun.error());
    cluster_->collect(id);
  }
  void ask(Raft& raft) {
    if (!raft.ready()) return say("not ready");
    raft.ask_quorum();
  }
  void persist() { cluster_->persist(node()); }
  void trim() {
    const MemberId id = node();
    cluster_->trim(id, std::stoull(word()));
  }

  void move_messages(bool deliver, const std::string& link) {
    std::size_t left = cluster_->network().size();
    for (std::size_t at = 0; left > 0; --left) {
      const RaftMessage& message = cluster_->network()[at];
      if (!link.empty() && link != fmt::format("{}>{}", message.from, message.to)) {
        ++at;
      } else if (deliver) {
        cluster_->deliver(at);
      } else {
        cluster_->drop(at);
      }
    }
  }
  void settle() {
    for (bool busy = true; busy;) {
      busy = !cluster_->network().empty();
      move_messages(true, "");
      for (auto& [id, each] : cluster_->nodes()) {
        while (cluster_->is_up(id) && cluster_->persist(id)) busy = true;
      }
    }
  }
  void calm() {
    silent_ = true;
    settle();
    silent_ = false;
  }

  void state() {
    for (auto& [id, each] : cluster_->nodes()) {
      if (each.raft == nullptr) {
        say(fmt::format("{}: down", id));
        continue;
      }
      const Raft& raft = *each.raft;
      std::string members;
      for (const MemberId voter : raft.configuration().voters) members += fmt::format(" {}", voter);
      for (const MemberId learner : raft.configuration().learners)
        members += fmt::format(" ({})", learner);
      say(fmt::format("{}: {}{} t{} log {}..{}/{} commit {} members{} state '{}'", id,
                      raft.role_name(), raft.ready() ? ", ready" : "", raft.term(),
                      raft.log().start().index, raft.log().last().index, raft.log().last().term,
                      raft.commit_index(), members, each.state));
    }
  }

  std::unique_ptr<RaftCluster> cluster_;
  std::istringstream words_;
  std::string out_;
  bool silent_ = false;
};

/// The file as it should be: commands as they stand, and what they lead to.
std::string played(const std::string& text) {
  Script script;
  std::istringstream lines(text);
  std::string result;
  std::string effect;
  bool expected = false;  // Behind the dashes.
  for (std::string line; std::getline(lines, line);) {
    if (line == "----") {
      result += line + "\n" + std::exchange(effect, {});
      expected = true;
    } else if (line.empty()) {
      result += "\n";
      expected = false;
    } else if (!expected) {
      result += line + "\n";
      if (!line.starts_with("#")) effect += script.run(line);
    }
  }
  return result;
}

std::string read(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("the scripts of test/data/raft happen as they are written down") {
  std::size_t scripts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(SENTINEL_TEST_DATA) / "data/raft")) {
    CAPTURE(entry.path().filename().string());
    const std::string text = read(entry.path());
    const std::string now = played(text);
    ++scripts;
    if (std::getenv("SENTINEL_REWRITE") != nullptr) {
      std::ofstream(entry.path()) << now;
    } else {
      CHECK(now == text);
    }
  }
  CHECK(scripts > 10);
}

}  // namespace sentinel::consensus
