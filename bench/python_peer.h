// SPDX-License-Identifier: MIT
// Peers that live in Python (python_peer.py), each in a process of its own, with memory and threads of its own. They
// are asked through a socket: lines of text, and arrays as raw floats. x and dy are the session's own, copied, so that
// their results are checked against the same reference.
#ifndef BENCH_PYTHON_PEER_H
#define BENCH_PYTHON_PEER_H

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "measure.h"
#include "rows.h"

#ifndef _WIN32
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

class python_peer
{
public:
    // The command is started, and is ready once it has told its version.
    python_peer(const std::string &command, const std::string &name)
    {
#ifndef _WIN32
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
            return;
        for (int end : ends)
            fcntl(end, F_SETFD, FD_CLOEXEC); // or other peers would keep it open
        const pid_t child = fork();
        if (child == 0) {
            std::signal(SIGINT, SIG_IGN); // the process that asks tells when to end
            dup2(ends[1], 0);
            dup2(ends[1], 1);
            setenv("OMP_PROC_BIND", "true", 1); // threads on CPUs of their own, as all others have them
            if (name.find("-avx2") != std::string::npos)
                setenv("ATEN_CPU_CAPABILITY", "avx2", 1); // PyTorch's
            execl("/bin/sh", "sh", "-c", (command + ' ' + name).c_str(), nullptr);
            _exit(127);
        }
        close(ends[1]);
        asked = fdopen(dup(ends[0]), "wb");
        answers = fdopen(ends[0], "rb");
#endif
    }

    python_peer(const python_peer &) = delete;
    python_peer &operator=(const python_peer &) = delete;

    ~python_peer()
    {
        for (std::FILE *file : { asked, answers })
            if (file)
                std::fclose(file); // which ends the other process
    }

    // A line of the other side; empty where it has ended.
    std::string answer()
    {
        char line[256] = "";
        if (!answers || !std::fgets(line, sizeof(line), answers))
            return {};
        line[std::strcspn(line, "\n")] = 0;
        return line;
    }

    // The tensors that it has are no longer those of the rows.
    void forget()
    {
        sent = 0;
    }

    // Has one result computed, which `store` then brings into y and the gradients; what went wrong, or nothing.
    std::string compute(const row &row, const batch_norm &norm, const tensors &buffers)
    {
        send(buffers, row.shape->elements());
        const layer &s = *row.shape;
        std::fprintf(asked, "enter %s %s %s %zu %zu %zu %zu\n", row.op.name().c_str(), row.layout.c_str(),
                     type_name(row.type).c_str(), s.batch, s.channels, s.points, row.threads);
        for (const std::vector<float> *array : { &norm.gamma, &norm.beta, &norm.mean, &norm.var })
            std::fwrite(array->data(), sizeof(float), s.channels, asked);
        std::fflush(asked);
        const std::string given = answer();
        const size_t gradients = row.op.is_backward() ? 2 * s.channels * sizeof(float) : 0;
        if (given != std::to_string(s.elements() * bnorm_size_of(row.type) + gradients))
            return given.empty() ? "the process of this peer has ended" : given;
        return {};
    }

    // Nothing where the process has ended meanwhile.
    void store(const row &row, batch_norm &norm, tensors &buffers)
    {
        read(buffers.y(), row.shape->elements() * bnorm_size_of(row.type));
        if (row.op.is_backward())
            for (std::vector<float> *array : { &norm.dgamma, &norm.dbeta })
                read(array->data(), row.shape->channels * sizeof(float));
    }

    // Of the row that was computed last.
    double sample()
    {
        std::fputs("sample\n", asked);
        std::fflush(asked);
        return std::strtod(answer().c_str(), nullptr);
    }

private:
    // A part is as good as nothing: what is missing differs from the reference.
    void read(void *to, size_t size)
    {
        if (std::fread(to, 1, size, answers) != size)
            std::clearerr(answers);
    }

    // Tensors are sent once, or again where more is needed.
    void send(const tensors &buffers, size_t count)
    {
        if (sent >= count)
            return;
        std::fprintf(asked, "tensors %zu\n", count);
        std::fwrite(buffers.x(), sizeof(float), count, asked);
        std::fwrite(buffers.dy(), sizeof(float), count, asked);
        sent = count;
    }

    std::FILE *asked = nullptr, *answers = nullptr;
    size_t sent = 0;
};

// Those that the command of BNORM_BENCH_PEERS has, by name, and their versions.
class python_peers
{
public:
    python_peers()
    {
        const char *command = std::getenv("BNORM_BENCH_PEERS");
        if (!command)
            return;
#ifndef _WIN32
        std::signal(SIGPIPE, SIG_IGN); // a peer that has ended is a row that failed
#endif
        for (const char *name :
             { "pytorch", "pytorch-call", "pytorch-avx2", "onnxruntime", "onnxruntime-call", "ncnn", "ncnn-call" })
            peers[name] = std::make_unique<python_peer>(command, name);
        for (auto peer = peers.begin(); peer != peers.end();) {
            versions[peer->first] = peer->second->answer();
            peer = versions[peer->first].empty() ? peers.erase(peer) : std::next(peer);
        }
    }

    python_peer *find(const std::string &name) const
    {
        const auto peer = peers.find(name);
        return peer == peers.end() ? nullptr : peer->second.get();
    }

    std::vector<std::string> names() const
    {
        std::vector<std::string> all;
        for (const auto &[name, peer] : peers)
            all.push_back(name);
        return all;
    }

    const std::string &version(const std::string &name) const
    {
        return versions.at(name);
    }

private:
    std::map<std::string, std::unique_ptr<python_peer>> peers;
    std::map<std::string, std::string> versions;
};

#endif
