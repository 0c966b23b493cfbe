#pragma once
/// A latency curve as SVG: latency over percentile, the tail stretched so that each "nine" takes
/// the same room.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace sentinel::perf {

/// `latency_us(q)` gives the latency in microseconds at quantile q in [0, 1]. Both axes are
/// logarithmic: x in 1 / (1 - q).
inline std::string latency_curve(std::string_view title,
                                 const std::function<double(double)>& latency_us) {
  constexpr double kWidth = 860;
  constexpr double kHeight = 420;
  constexpr double kLeft = 80;
  constexpr double kTop = 50;
  constexpr double kNines = 4;  // Up to 99.99 %.
  constexpr double kPlotWidth = kWidth - kLeft - 30;
  constexpr double kPlotHeight = kHeight - kTop - 60;
  const double least = std::pow(10, std::floor(std::log10(std::max(latency_us(0.0), 1.0))));
  const double most = std::pow(10, std::ceil(std::log10(std::max(latency_us(0.9999), least * 10))));
  const auto x_of = [&](double nines) { return kLeft + kPlotWidth * nines / kNines; };
  const auto y_of = [&](double us) {
    const double part = std::log(std::max(us, least) / least) / std::log(most / least);
    return kTop + kPlotHeight * (1 - part);
  };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"13\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n<text x=\"{2}\" y=\"28\" "
      "font-size=\"16\">{3}</text>\n",
      kWidth, kHeight, kLeft, title);
  auto out = std::back_inserter(svg);
  for (double us = least; us <= most * 1.01; us *= 10) {
    const std::string label =
        us >= 1000 ? fmt::format("{:g} ms", us / 1000) : fmt::format("{:g} us", us);
    fmt::format_to(out,
                   "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/>"
                   "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
                   kLeft, kLeft + kPlotWidth, y_of(us), kLeft - 8, y_of(us) + 4, label);
  }
  const std::vector<std::string_view> marks = {"min", "p90", "p99", "p99.9", "p99.99"};
  for (std::size_t i = 0; i < marks.size(); ++i) {
    const double x = x_of(static_cast<double>(i));
    fmt::format_to(out,
                   "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ddd\"/>"
                   "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
                   x, kTop, kTop + kPlotHeight, kTop + kPlotHeight + 20, marks[i]);
  }
  svg += "<polyline fill=\"none\" stroke=\"#1463b0\" stroke-width=\"2\" points=\"";
  for (double nines = 0; nines <= kNines + 0.001; nines += 0.02) {
    fmt::format_to(out, "{:.1f},{:.1f} ", x_of(nines), y_of(latency_us(1 - std::pow(10, -nines))));
  }
  svg += "\"/>\n</svg>\n";
  return svg;
}

}  // namespace sentinel::perf
