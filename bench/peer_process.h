// SPDX-License-Identifier: MIT
// A copy of this process that measures the rows which cannot be measured in it: a library decides once in a process
// which ISA it takes, so oneDNN held to AVX2 lives in another one, and rows that are compared with it alone beside it,
// in the same memory. Made before there are threads, which a copy would not have; it waits until it is asked.
#ifndef BENCH_PEER_PROCESS_H
#define BENCH_PEER_PROCESS_H

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <string>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

#include "measure.h"

class peer_process
{
public:
    // In the copy, `serve` is given the socket that asks, and then it ends.
    explicit peer_process(const std::function<void(int)> &serve)
    {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
            return;
        const pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            serve(ends[1]);
            _exit(0);
        }
        close(ends[1]);
        if (child > 0)
            socket = ends[0];
        else
            close(ends[0]);
    }

    peer_process(const peer_process &) = delete;
    peer_process &operator=(const peer_process &) = delete;

    ~peer_process()
    {
        if (socket >= 0)
            close(socket); // which ends the other process
    }

    // A row of the other process, as a contestant of this one.
    contestant enter(const std::string &row)
    {
        contestant c;
        request asked = { true, {} };
        std::snprintf(asked.row, sizeof(asked.row), "%s", row.c_str());
        c.error = ask(asked).error;
        c.has_threads = true;
        asked.enters = false;
        c.sample = [this, asked] { return ask(asked).seconds; };
        return c;
    }

    // The other side: enters rows and samples one of the last, until nobody asks any more.
    static void answer(int socket, const std::function<contestant(const std::string &)> &enter)
    {
        constexpr size_t compared = 2; // rows, at most
        std::deque<std::pair<std::string, contestant>> entered;
        for (request asked; read(socket, &asked, sizeof(asked)) == sizeof(asked);) {
            reply given = {};
            if (asked.enters) {
                if (entered.size() == compared)
                    entered.pop_front();
                entered.emplace_back(asked.row, enter(asked.row));
                std::snprintf(given.error, sizeof(given.error), "%s", entered.back().second.error.c_str());
            } else {
                for (auto &[row, c] : entered)
                    if (row == asked.row)
                        given.seconds = c.sample();
            }
            if (write(socket, &given, sizeof(given)) != sizeof(given))
                return;
        }
    }

private:
    struct request {
        bool enters; // else it is sampled
        char row[120]; // its name
    };
    struct reply {
        double seconds;
        char error[240];
    };

    reply ask(const request &request)
    {
        reply given = {};
        if (socket < 0 || write(socket, &request, sizeof(request)) != sizeof(request) ||
            read(socket, &given, sizeof(given)) != sizeof(given))
            std::snprintf(given.error, sizeof(given.error), "the process of this peer has ended");
        return given;
    }

    int socket = -1;
};

#endif
